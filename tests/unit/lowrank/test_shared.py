"""Layers of the same inputs as one: the same answers, one rank, one first product."""

import copy
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import onnxruntime
import pytest
import torch
from pydantic import ValidationError
from tiny_transformers import CAUSAL, logits, tiny, tokens
from torch import nn

from softjet.config.families import FAMILIES
from softjet.config.lowrank import RankLearning, Selection
from softjet.errors import InputError
from softjet.language.models import describe
from softjet.lowrank import (
    Shares,
    export_onnx,
    fuse,
    learn_ranks,
    linear_macs,
    load_compressed,
    parameter_counts,
    save_compressed,
    share_inputs,
)
from softjet.lowrank.pivot import PivotLinear
from softjet.lowrank.selection import all_factors, decompose, find_layers, set_form
from softjet.lowrank.shared import join, joint_layers, selection_of

APART = ["bert", "mpnet", "llama"]
"""Families whose layers of the same inputs are modules of their own."""

LANGUAGE = [family for family in FAMILIES if family != "part"]
SETTINGS = RankLearning(
    share_inputs=True, learn_steps=4, recover_steps=2, rank_floor=2, of="blocks", keep=0.6
)
FIRST = {
    "bert": "bert.encoder.layer.0.attention.self.query+key+value",
    "mpnet": "mpnet.encoder.layer.0.attention.attn.q+k+v",
    "llama": "model.layers.0.self_attn.q_proj+k_proj+v_proj",
}


def joined(family, seed=0):
    model = tiny(family, seed=seed)
    return model, share_inputs(model, FAMILIES[family])


def compressed(family, rank=6, form="pivot"):
    model, selection = joined(family)
    decompose(model, selection)
    set_form(model, form)
    for factors in all_factors(model):
        factors.fix(rank)
    return model, selection


@pytest.mark.parametrize("family", LANGUAGE)
def test_answers_and_counts_are_those_of_the_model_as_it_was(family):
    dense = tiny(family)
    model, selection = joined(family)
    torch.testing.assert_close(logits(model), logits(dense), rtol=1e-5, atol=1e-5)
    assert parameter_counts(model, selection) == parameter_counts(dense, FAMILIES[family])
    assert list(joint_layers(model))[:1] == ([FIRST[family]] if family in APART else [])
    places = find_layers(model, selection)
    assert all(place.pieces == ("",) for place in places)
    saved = len(find_layers(dense, FAMILIES[family])) - len(places)
    blocks = 1 + max(place.block for place in places)
    assert saved == blocks * {"bert": 2, "mpnet": 2, "llama": 3}.get(family, 0)


@pytest.mark.parametrize("family", LANGUAGE)
def test_gradients_are_those_of_the_model_as_it_was(family):
    dense, (model, _) = tiny(family), joined(family)
    for one in (dense, model):
        one(tokens()).logits.square().mean().backward()
    for path in joint_layers(model):
        parent, _, name = path.rpartition(".")
        apart = [dense.get_submodule(f"{parent}.{own}") for own in name.split("+")]
        joint = model.get_submodule(path)
        for kind in ("weight", "bias"):
            if getattr(joint, kind) is not None:
                expected = torch.cat([getattr(layer, kind).grad for layer in apart])
                torch.testing.assert_close(getattr(joint, kind).grad, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("family", APART)
def test_one_product_serves_all(family):
    model, _ = joined(family)
    calls = Counter()
    for path in joint_layers(model):
        layer = model.get_submodule(path)
        layer.register_forward_hook(lambda *_, path=path: calls.update([path]))
    for passes in (1, 2):
        logits(model)
        assert set(calls.values()) == {passes}
    assert calls.keys() == set(joint_layers(model))


class Twice(nn.Module):
    """Two layers that are called as told."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 2), nn.Linear(3, 4)


@pytest.fixture
def twice():
    torch.manual_seed(1)
    model = nn.Module()
    model.blocks = nn.ModuleList([Twice()])
    apart = copy.deepcopy(model.blocks[0])
    join(model, "blocks.0.one+two")
    return model.blocks[0], apart


def test_what_is_taken_is_of_the_inputs_that_are_given(twice):
    ours, theirs = twice
    x, y = torch.randn(5, 3), torch.randn(5, 3)
    torch.testing.assert_close(ours.one(x), theirs.one(x))
    torch.testing.assert_close(ours.two(y), theirs.two(y))  # of another x than the first was
    torch.testing.assert_close(ours.two(x), theirs.two(x))


def test_what_is_taken_is_of_inputs_as_they_are_now(twice):
    ours, theirs = twice
    x = torch.randn(5, 3)
    ours.one(x)
    x.mul_(10)
    torch.testing.assert_close(ours.two(x), theirs.two(x))
    with torch.inference_mode():  # where tensors do not count their changes
        y = torch.randn(5, 3)
        ours.one(y)
        torch.testing.assert_close(ours.two(y), theirs.two(y))


def test_what_is_taken_has_gradients_as_asked(twice):
    ours, _ = twice
    x = torch.randn(5, 3)
    with torch.no_grad():
        ours.one(x)
    assert ours.two(x).requires_grad
    ours.one(x)
    with torch.no_grad():
        assert not ours.two(x).requires_grad


def test_nothing_is_kept_from_one_pass_to_the_next(twice):
    ours, _ = twice
    x = torch.randn(5, 3)
    before = ours.one(x), ours.two(x)
    assert ours.one.together._seen is None
    ours.one(x)  # and the second layer is not called
    with torch.no_grad():
        ours.get_submodule("one+two").weight.mul_(2)
    assert (ours.one(x) - before[0]).abs().max() > 0.1
    assert (ours.two(x) - before[1]).abs().max() > 0.1


def test_a_copy_is_a_model_of_its_own(twice):
    ours, theirs = twice
    x = torch.randn(5, 3)
    ours.one(x.requires_grad_())  # waits for its other half, with a graph behind it
    twin = copy.deepcopy(ours)
    with torch.no_grad():
        twin.get_submodule("one+two").weight.zero_()
    torch.testing.assert_close(ours.two(x), theirs.two(x))
    assert (twin.two(x) == twin.get_submodule("one+two").bias[2:]).all()
    alone = copy.deepcopy(ours.two)
    torch.testing.assert_close(alone(x), theirs.two(x))


def test_threads_get_what_is_theirs(twice):
    ours, theirs = twice

    def both(seed):
        x = torch.randn(64, 3, generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode():
            found = [torch.equal(ours.one(x), theirs.one(x)), torch.equal(ours.two(x), theirs.two(x))]
            return [bool(f) or torch.allclose(layer(x), other(x)) for f, layer, other in
                    zip(found, (ours.one, ours.two), (theirs.one, theirs.two), strict=True)]  # fmt: skip

    with ThreadPoolExecutor(8) as threads:
        assert all(all(pair) for pair in threads.map(both, range(400)))


@pytest.mark.parametrize("family", APART)
def test_the_fused_model_answers_as_in_training(family):
    model, selection = compressed(family)
    want, counts = logits(model), parameter_counts(model, selection)
    fuse(model)
    torch.testing.assert_close(logits(model), want, rtol=1e-4, atol=1e-5)
    assert parameter_counts(model, selection) == counts
    assert isinstance(model.get_submodule(FIRST[family]), PivotLinear)
    macs = linear_macs(model, lambda: logits(model))
    joint = model.get_submodule(FIRST[family])
    assert macs[FIRST[family]] == tokens().numel() * joint.weights()


@pytest.mark.parametrize("form", ["pair", "pivot"])
@pytest.mark.parametrize("family", APART)
def test_a_loaded_model_answers_and_generates_as_the_saved_one(family, form, tmp_path):
    model = fuse(compressed(family, form=form)[0])
    about = {"kind": "transformers", **describe(model)}
    save_compressed(
        tmp_path, model, base_model="tiny", licence="MIT", how={}, kept=Shares(1, 1, 1), architecture=about
    )
    loaded = load_compressed(tmp_path)
    assert list(joint_layers(loaded)) == list(joint_layers(model))
    assert torch.equal(logits(loaded), logits(model))
    if family in CAUSAL:
        options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
        found, by_hand = loaded.generate(tokens(), **options), tokens()
        for _ in range(4):
            by_hand = torch.cat([by_hand, logits(model, by_hand)[:, -1:].argmax(-1)], dim=1)
        assert torch.equal(found, by_hand)


@pytest.mark.parametrize("damage", [["model.layers.0.mlp.gate_proj+none"], ["nowhere"], [7], "no list"])
def test_a_joint_layer_that_cannot_be_is_one_line(damage, tmp_path):
    model = fuse(compressed("llama")[0])
    about = {"kind": "transformers", **describe(model)}
    save_compressed(
        tmp_path, model, base_model="tiny", licence="MIT", how={}, kept=Shares(1, 1, 1), architecture=about
    )
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"joint": damage}))
    with pytest.raises(InputError, match=r"config\.json: .*give the model it was made from") as caught:
        load_compressed(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", APART)
def test_the_onnx_file_computes_the_same(family, tmp_path):
    model = fuse(compressed(family)[0])
    mask = torch.ones_like(tokens())
    export_onnx(model, {"input_ids": tokens(), "attention_mask": mask}, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    given = {"input_ids": tokens(5).repeat(2, 1), "attention_mask": torch.ones_like(tokens(5).repeat(2, 1))}
    (found,) = session.run(None, {name: value.numpy() for name, value in given.items()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), model(**given).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["whitened-soft-threshold", "whitened-svd", "soft-threshold"])
def test_ranks_of_joint_layers_are_learned(method, tmp_path):
    model = tiny("llama").train()
    settings = SETTINGS.model_copy(
        update={"method": method, "calibration": 2, "threshold_rate": 1.0, "form": "pivot"}
    )
    selection = selection_of(model, FAMILIES["llama"], settings)
    dense = parameter_counts(model, selection)
    learned = learn_ranks(
        model, selection, lambda step: iter([tokens()] * (9 - step)),
        lambda m, batch: m(batch).logits.square().mean(), settings, tmp_path,
    )  # fmt: skip
    rows = learned.ranks.set_index("module").loc[FIRST["llama"]]
    assert rows["type"] == "self_attn.q_proj+k_proj+v_proj"
    assert rows["m"] > rows["n"]
    assert parameter_counts(fuse(model), selection).over(dense).blocks <= 0.6


def test_joint_layers_of_a_block_can_be_left_dense():
    model, dense = tiny("llama"), tiny("llama")
    settings = SETTINGS.model_copy(update={"share_inputs": True, "leave_dense": ("model.layers.0",)})
    selection = selection_of(model, FAMILIES["llama"], settings)
    assert {place.block for place in find_layers(model, selection)} == {1}
    torch.testing.assert_close(logits(model), logits(dense), rtol=1e-5, atol=1e-5)
    decompose(model, selection)
    assert isinstance(model.get_submodule(FIRST["llama"]), nn.Linear)


def test_without_the_setting_nothing_is_joined():
    model = tiny("llama")
    apart = SETTINGS.model_copy(update={"share_inputs": False})
    assert selection_of(model, FAMILIES["llama"], apart) == FAMILIES["llama"]
    assert not list(joint_layers(model))


@pytest.mark.parametrize(
    ("shared", "message"),
    [
        (
            ("model.layers.*.mlp.gate_proj", "model.layers.*.mlp.down_proj"),
            "are not linear layers of the same",
        ),
        (("model.layers.*.mlp.gate_proj", "model.layers.*.mlp.act_fn"), "are not linear layers of the same"),
        (("model.layers.*.mlp.gate_proj", "model.layers.*.mlp.up"), "layers that the model does not have"),
        (("model.blocks.*.mlp.gate_proj", "model.blocks.*.mlp.up_proj"), "names no layers of the model"),
    ],
)
def test_layers_that_cannot_be_one_are_one_line(shared, message):
    selection = Selection(
        matrices=FAMILIES["llama"].matrices, blocks=FAMILIES["llama"].blocks, shared=(shared,)
    )
    with pytest.raises(InputError, match=message) as caught:
        share_inputs(tiny("llama"), selection)
    assert "\n" not in str(caught.value)


def test_a_budget_of_time_knows_no_joint_layers():
    with pytest.raises(ValidationError, match="share_inputs: matrices are timed one by one"):
        RankLearning(of="time", share_inputs=True)
