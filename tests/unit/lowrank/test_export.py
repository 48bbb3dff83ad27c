"""The folder of a compressed model."""

import json

import pytest
import torch
from small_network import SELECTION, Network, network

from softjet.errors import InputError
from softjet.lowrank import Shares, fuse, load_compressed, save_compressed
from softjet.lowrank.selection import all_factors, decompose


@pytest.fixture
def fused():
    model = network().eval()
    decompose(model, SELECTION)
    for i, factors in enumerate(all_factors(model)):
        factors.fix((3, 16, 4, 16)[i % 4])
    return fuse(model)


@pytest.fixture
def folder(tmp_path, fused):
    save_compressed(
        tmp_path,
        fused,
        base_model="reference",
        licence="MIT",
        how={"method": "soft-threshold", "keep": 0.5},
        kept=Shares(0.4, 0.45, 0.5),
    )
    return tmp_path


def test_a_loaded_model_is_the_saved_model(folder, fused):
    loaded = load_compressed(folder, network(seed=7))
    x = torch.randn(4, 6)
    assert not loaded.training
    assert torch.equal(loaded(x), fused(x))


def test_the_folder_says_what_it_is(folder):
    about = json.loads((folder / "config.json").read_text())
    assert about["base_model"] == "reference"
    assert about["licence"] == "MIT"
    assert about["how"] == {"method": "soft-threshold", "keep": 0.5}
    assert about["kept"] == {"linears": 0.4, "blocks": 0.45, "total": 0.5}
    assert about["ranks"]["blocks.0.packed"]["pieces"] == [
        {"outputs": 16, "rank": 3},
        {"outputs": 16, "rank": None},
        {"outputs": 16, "rank": 4},
    ]
    assert "blocks.0.wide" not in about["ranks"]
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_equal_models_make_equal_bytes(folder, tmp_path, fused):
    other = tmp_path / "other"
    about = {"base_model": "reference", "licence": "MIT", "how": {}, "kept": Shares(1, 1, 1)}
    save_compressed(other, fused, **about)
    assert (other / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("damage", "skeleton", "message"),
    [
        (lambda f: (f / "config.json").unlink(), Network(), "config.json: file: does not exist"),
        (lambda f: (f / "model.safetensors").unlink(), Network(), "model.safetensors: file: does not exist"),
        (lambda f: (f / "config.json").write_text("{}"), Network(), "config.json: ranks: cannot be read"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"half"),
            Network(),
            "weights: do not fit the model",
        ),
        (lambda f: None, Network(width=32), "blocks.0.packed: has another shape"),
        (lambda f: None, Network(blocks=1), "blocks.1.packed: names no layer"),
        (lambda f: None, Network(blocks=3), "weights: do not fit the model"),
    ],
)
def test_what_does_not_fit_is_one_line(folder, damage, skeleton, message):
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_compressed(folder, skeleton)
    assert "\n" not in str(caught.value)
