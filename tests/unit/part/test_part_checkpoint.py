import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_part import SMALL

from softjet.errors import InputError
from softjet.part.checkpoint import load_checkpoints, load_part, save_checkpoints, save_part
from softjet.part.model import ParticleTransformer


@pytest.fixture
def folder(tmp_path, model):
    save_part(tmp_path, model)
    return tmp_path


def test_round_trip(folder, model, jets):
    loaded = load_part(folder)
    assert not loaded.training
    assert loaded.config == model.config
    batch = jets.features, jets.vectors, jets.mask
    assert torch.equal(loaded(*batch), model(*batch))


def test_folder_holds_weights_and_readable_shape(folder):
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json"}
    config = json.loads((folder / "config.json").read_text())
    assert (config["features"], config["n_features"], config["classes"]) == ("kin", 7, 2)


def drop(weights):
    del weights["head.bias"]


def add(weights):
    weights["head.extra"] = torch.zeros(1)


def reshape(weights):
    weights["head.bias"] = torch.zeros(3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (drop, "head.bias: is missing"),
        (add, "head.extra: is not a weight"),
        (reshape, r"head.bias: has shape \(3,\), not \(2,\)"),
    ],
)
def test_wrong_weights_are_named(folder, change, named):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)
    with pytest.raises(InputError, match=named) as caught:
        load_part(folder)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_truncated_or_absent_files_are_named(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=name):
        load_part(folder)
    path.unlink()
    with pytest.raises(InputError, match=name):
        load_part(folder)


def test_unknown_key_of_the_shape_is_named(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layers": 3}))
    with pytest.raises(InputError, match="layers"):
        load_part(folder)


def test_networks_kept_on_the_way_come_back_by_their_steps(tmp_path, model):
    other = ParticleTransformer(SMALL)
    save_part(tmp_path, model)
    save_checkpoints(tmp_path, {30: model, 4: other})
    kept = load_checkpoints(tmp_path)
    assert list(kept) == [4, 30]
    for network, before in zip(kept.values(), (other, model), strict=True):
        assert all(torch.equal(network.state_dict()[n], value) for n, value in before.state_dict().items())
    save_checkpoints(tmp_path, {})
    assert load_checkpoints(tmp_path) == {}


def test_a_weight_without_a_step_is_named(tmp_path, model):
    save_part(tmp_path, model)
    save_file({"head.weight": torch.zeros(2)}, tmp_path / "checkpoints.safetensors")
    with pytest.raises(InputError, match=r"checkpoints.safetensors.*head.weight"):
        load_checkpoints(tmp_path)
