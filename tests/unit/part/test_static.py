"""Inference without a shape that depends on data, and how it is timed on a GPU."""

import pytest
import torch
from test_inference import Jets, trained

from softjet.part.speed_gpu import GPU_WAYS, Way, compiled, measure_on_gpu
from softjet.part.static import Replays, StaticModel, agree

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def test_no_shape_depends_on_data():
    model, jets = StaticModel(trained(), "bfloat16"), Jets((5, 1, 12))
    # On "meta" there is no data; what asks for some fails.
    inputs = [tensor.to("meta") for tensor in jets.inputs]
    assert model.to("meta")(*inputs).shape == (3, 10)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_kernel_that_errs_is_found_out(precision):
    model, jets = StaticModel(trained(), precision), Jets((5, 1, 12))
    real = jets.mask.squeeze(1)
    expected = model.pair_bias(jets.vectors, real)
    assert agree(expected.clone(), expected, real)
    assert agree(expected.masked_fill(~real[:, None, :, None], 0.0), expected, real)
    tile = expected.clone()
    tile[2, :, 8:, :8] = expected[2, :, :4, :8]
    assert not agree(tile, expected, real)
    assert not agree(expected.masked_fill(expected.isinf(), 0.0), expected, real)
    for wrong in (torch.nan, torch.inf):
        assert not agree(expected.index_fill(0, torch.tensor(1), wrong), expected, real)


def test_a_kernel_that_errs_is_given_up(caplog):
    model, jets = StaticModel(trained()), Jets((5, 1, 12))
    given = jets.vectors, jets.mask.squeeze(1)
    model.fused = torch.nn.Identity()
    model._check(lambda *given: model._bias_by_pytorch(*given), *given)
    assert model.fused is not None
    model._check(lambda *given: 2 * model._bias_by_pytorch(*given), *given)
    assert model.fused is None
    assert "another bias" in caplog.text


def test_ways_are_timed_beside_weaver_core():
    shape = {"embed_dims": (16, 32, 16), "pair_embed_dims": (8,), "heads": 4, "blocks": 1, "class_blocks": 1}
    model, batches = trained(**shape), [Jets((5, 1, 12)), Jets((4, 9), seed=2)]
    ways = {
        "model": GPU_WAYS["model, float32"],
        "static": GPU_WAYS["inference, bfloat16"],
        "nearer": GPU_WAYS["inference, float16"],
        "again": Way(StaticModel, like="static"),
    }
    table = measure_on_gpu(
        model, batches, iter(batches), samples=2, size=3, device=torch.device("cpu"), noise=1e9, ways=ways
    )
    assert table["way"].tolist() == ["model", "static", "nearer", "again"]
    assert table["compared"].tolist() == [5, 5, 5, 5]
    flops = table.set_index("way")[["flops_bfloat16", "flops_float16"]].fillna(0.0)
    assert flops.loc["model"].tolist() == [0, 0]
    assert flops.loc["static", "flops_bfloat16"] == flops.loc["again", "flops_bfloat16"] > 0
    assert flops.loc["nearer", "flops_float16"] == flops.loc["static", "flops_bfloat16"]
    assert table["microseconds"].tolist() == pytest.approx((1e6 / table["jets_per_second"]).tolist())
    assert table["largest"][3] < 1e-4 < 4 * table["largest"][2] < table["largest"][1] < 0.1


@ON_GPU
@pytest.mark.parametrize("make", [StaticModel, lambda model: compiled(model, "float32")])
def test_replays_give_the_same_logits_for_every_shape(make):
    model = trained(pair_embed_dims=(64, 64, 64))
    batches = [Jets((5, 1, 12)), Jets((30, 20)), Jets((12, 2, 3), seed=5)]
    expected = [model(*batch.inputs) for batch in batches]
    replays = Replays(make(model.cuda()))
    for batch, logits in zip(batches, expected, strict=True):
        found = replays(*(tensor.cuda() for tensor in batch.inputs))
        torch.testing.assert_close(found.cpu(), logits, rtol=1e-3, atol=1e-4)


@ON_GPU
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_the_kernel_is_not_given_up(precision):
    pytest.importorskip("triton")
    model, jets = trained(pair_embed_dims=(64, 64, 64), heads=8), Jets((117,) * 300)
    ready = StaticModel(model.cuda(), precision)
    vectors, real = jets.vectors.cuda(), jets.mask.squeeze(1).cuda()
    assert agree(ready.pair_bias(vectors, real), ready._bias_by_pytorch(vectors, real), real)
    assert ready.fused is not None
