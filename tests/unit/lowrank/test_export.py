"""The folder of a compressed model."""

import json

import pytest
import torch
from small_network import SELECTION, Network, network

from softjet.config.families import FAMILIES
from softjet.config.part import ParTModel
from softjet.errors import InputError
from softjet.lowrank import Shares, fuse, load_compressed, save_compressed
from softjet.lowrank.selection import all_factors, decompose, set_form
from softjet.part.model import ParticleTransformer


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
        architecture={"kind": "small", "width": 16},
        origin={"weights": {"package": "small"}},
    )
    return tmp_path


def test_a_loaded_model_is_the_saved_model(folder, fused):
    loaded = load_compressed(folder, network(seed=7))
    x = torch.randn(4, 6)
    assert not loaded.training
    assert torch.equal(loaded(x), fused(x))


@pytest.mark.parametrize("form", ["pair", "pivot"])
def test_what_layers_share_they_share_when_loaded(tmp_path, form):
    def shared(seed):
        model = network(seed).eval()
        model.blocks[1].wide.weight = model.blocks[0].wide.weight
        model.blocks[1].packed = model.blocks[0].packed
        return model

    model = shared(0)
    decompose(model, SELECTION)
    set_form(model, form)
    for factors in all_factors(model):
        factors.fix(5)
    fuse(model)
    about = {"base_model": "a", "licence": "b", "how": {}, "kept": Shares(0.4, 0.45, 0.5), "architecture": {}}
    save_compressed(tmp_path, model, **about)
    loaded, x = load_compressed(tmp_path, shared(7)), torch.randn(4, 6)
    assert torch.equal(loaded(x), model(x))
    assert loaded.blocks[1].packed is loaded.blocks[0].packed
    assert loaded.blocks[1].wide.outer[0] is loaded.blocks[0].wide.outer[0]
    assert len(list(loaded.parameters())) == len(list(model.parameters()))


def test_the_folder_says_what_it_is(folder):
    about = json.loads((folder / "config.json").read_text())
    assert about["base_model"] == "reference"
    assert about["licence"] == "MIT"
    assert about["origin"] == {"weights": {"package": "small"}}
    assert about["how"] == {"method": "soft-threshold", "keep": 0.5}
    assert about["architecture"] == {"kind": "small", "width": 16}
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
    about = {
        "base_model": "reference",
        "licence": "MIT",
        "how": {},
        "kept": Shares(1, 1, 1),
        "architecture": {},
    }
    save_compressed(other, fused, **about)
    assert (other / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def change(folder, **values):
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | values))


def test_a_particle_transformer_is_built_from_its_folder_alone(tmp_path):
    shape = ParTModel(heads=2, blocks=2, class_blocks=1, embed_dims=(16,), pair_embed_dims=(8,), classes=3)
    torch.manual_seed(0)
    model = ParticleTransformer(shape).eval()
    decompose(model, FAMILIES["part"])
    for factors in all_factors(model):
        factors.fix(4)
    fuse(model)
    save_compressed(
        tmp_path, model, base_model="reference", licence="MIT", how={}, kept=Shares(1, 1, 1),
        architecture={"kind": "part", **shape.model_dump(mode="json")},
    )  # fmt: skip
    loaded = load_compressed(tmp_path)
    weights = model.state_dict()
    assert weights.keys() == loaded.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in loaded.state_dict().items())
    assert type(loaded) is ParticleTransformer
    assert not loaded.training


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
        (lambda f: None, None, "architecture.kind: small is not known; it is one of part, transformers"),
        (lambda f: change(f, architecture=None), None, "architecture: names no kind of model"),
        (
            lambda f: change(f, architecture={"kind": "part", "width": 3}),
            None,
            "architecture: builds no model",
        ),
        (lambda f: (f / "config.json").write_text("[1]"), None, "config.json: ranks: cannot be read"),
    ],
)
def test_what_does_not_fit_is_one_line(folder, damage, skeleton, message):
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_compressed(folder, skeleton)
    assert "\n" not in str(caught.value)
