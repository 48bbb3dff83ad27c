import subprocess
import sys

import pytest
import torch

from softjet.attention import record, recording


def test_weights_add_up_to_one_over_real_particles_only(model, jets):
    (features, vectors, mask), known = jets
    seen = record(model, features, vectors, mask)
    real = torch.from_numpy(known.real)
    assert len(seen.weights) == len(seen.qk) == 3
    for weights in seen.weights:
        assert weights.shape == (4, 2, 12, 12)
        torch.testing.assert_close(weights.sum(-1), real[:, None].expand(4, 2, 12).float())
        assert (weights.transpose(-2, -1)[~real[:, None].expand(4, 2, 12)] == 0).all()
    for weights in seen.class_weights:
        assert weights.shape == (4, 2, 1, 13)
        torch.testing.assert_close(weights.sum(-1), torch.ones(4, 2, 1))


def test_record_is_the_softmax_of_qk_and_the_models_own_bias(model, jets):
    (features, vectors, mask), _ = jets
    seen = record(model, features, vectors, mask)
    torch.testing.assert_close(seen.bias, model.pair_bias(vectors, mask))
    logits = (seen.qk[1] + seen.bias)[0, :, :5, :5]
    torch.testing.assert_close(logits.softmax(-1), seen.weights[1][0, :, :5, :5])


def test_record_reproduces_every_block_and_leaves_the_model_as_it_was(model, jets):
    inputs, _ = jets
    model.train()
    model.embed.eval()
    before = model.embed.norm.running_mean.clone()
    seen = record(model, *inputs)
    assert set(seen.residuals) == {"blocks.0", "blocks.1", "blocks.2", "class_blocks.0", "class_blocks.1"}
    assert 0 <= seen.residual < 1e-5
    seen.check(1e-4)
    assert [model.training, model.blocks[0].training, model.embed.training] == [True, True, False]
    assert torch.equal(model.embed.norm.running_mean, before)
    assert not any(module._forward_hooks for module in model.modules())
    assert not any({"project", "mix"} & vars(module).keys() for module in model.modules())


def scaled_keys(projected, logits, weights):
    q, k, v = projected
    return (q, k * 1.1, v), logits, weights


def other_weights(projected, logits, weights):
    return projected, logits, weights.roll(1, 1)


def other_values(projected, logits, weights):
    q, k, v = projected
    return (q, k, v * 1.1), logits, weights


@pytest.mark.parametrize("change", [scaled_keys, other_weights, other_values])
def test_a_record_that_is_not_what_the_model_computed_is_named(model, jets, monkeypatch, change):
    inputs, _ = jets
    attend, out_proj = recording.attend, model.blocks[1].attention.out_proj

    def attend_otherwise(projected, logits, weights, module, *rest):
        given = projected, logits, weights
        return attend(*(change(*given) if module is out_proj else given), module, *rest)

    monkeypatch.setattr(recording, "attend", attend_otherwise)
    seen = record(model, *inputs)
    assert seen.residual == float(seen.residuals["blocks.1"].max()) > 1e-4
    with pytest.raises(ArithmeticError, match=r"blocks\.1: .* miss .*, more than 1e-04"):
        seen.check(1e-4)


def test_one_jet_in_so_many_is_held_to_the_output(model, jets):
    inputs, _ = jets
    whole, some = {}, {}
    for every, layers in ((1, whole), (3, some)):
        with recording.watching(model, layers.__setitem__, every):
            model(*inputs)
    for name, layer in some.items():
        assert layer.residual.shape == (2,)
        assert torch.equal(layer.qk, whole[name].qk)
        assert torch.equal(layer.weights, whole[name].weights)


def test_what_changes_the_weights_is_seen_and_stays(model, jets, monkeypatch):
    inputs, _ = jets
    monkeypatch.setattr(model.blocks[0].attention, "edit", turned := lambda weights: weights.roll(1, 1))
    seen = record(model, *inputs)
    assert float(seen.residuals["blocks.0"].max()) > 1e-2 > float(seen.residuals["blocks.1"].max())
    assert model.blocks[0].attention.edit is turned
    assert model.blocks[1].attention.edit is None


def test_a_residual_that_is_no_number_fails(model, jets):
    (features, vectors, mask), _ = jets
    seen = record(model, features * torch.nan, vectors, mask)
    with pytest.raises(ArithmeticError, match="nan"):
        seen.check(1e-4)


def test_importing_the_room_imports_no_torch():
    code = "import sys, softjet.attention, softjet.attention.statistics; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
