"""The pivot form of low-rank matrices: the same function from fewer numbers."""

import copy

import numpy as np
import pytest
import safetensors.torch
import torch
from method_settings import run
from scipy.linalg import interpolative
from small_network import SELECTION, network
from tiny_transformers import tiny
from torch import nn

from softjet.config.families import FAMILIES
from softjet.errors import InputError
from softjet.lowrank import (
    Shares,
    as_pairs,
    fuse,
    linear_macs,
    load_compressed,
    parameter_counts,
    save_compressed,
)
from softjet.lowrank.baselines import by_share
from softjet.lowrank.budget import choose_ranks, possible_ranks
from softjet.lowrank.embedding import LowRankEmbedding
from softjet.lowrank.factors import Factors, kept_parameters
from softjet.lowrank.low_rank import LowRankLinear, Piece
from softjet.lowrank.pivot import PivotLinear, pivots
from softjet.lowrank.price import PARAMETERS
from softjet.lowrank.selection import all_factors, decompose, set_form


def factors_of(m, n, rank, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(size, generator=generator, dtype=dtype) for size in ((m, rank), (rank, n)))


def composed(outer, inner, order):
    """The matrix, column by column."""
    matrix = outer.new_empty(len(outer), len(order))
    for place, column in enumerate(torch.cat((outer, outer @ inner), dim=1).T):
        matrix[:, order[place]] = column
    return matrix


def in_pivot_form(model, rank=5):
    """A copy of a learning model as it fuses at this rank, the second of every four matrices dense."""
    model = copy.deepcopy(model)
    set_form(model, "pivot")
    for i, factors in enumerate(all_factors(model)):
        factors.fix(min(factors.shape) if i % 4 == 1 else rank)
    return fuse(model).eval()


@pytest.fixture
def learning():
    model = network().double().eval()
    decompose(model, SELECTION)
    return model


@pytest.mark.parametrize(("m", "n", "rank"), [(12, 20, 5), (20, 12, 11), (16, 16, 16), (9, 9, 1), (6, 8, 0)])
def test_the_pivot_form_is_the_product(m, n, rank):
    left, right = factors_of(m, n, rank)
    found = pivots(left, right)
    assert found.outer.shape == (m, rank)
    assert found.inner.shape == (rank, n - rank)
    assert sorted(found.order.tolist()) == list(range(n))
    assert all(part.is_contiguous() for part in found)
    torch.testing.assert_close(composed(*found), left @ right, rtol=1e-10, atol=1e-10)


def test_pivots_are_those_of_the_interpolative_decomposition():
    left, right = factors_of(12, 20, 5)
    basis = np.linalg.qr(right.numpy().T)[0].T
    order, projection = interpolative.interp_decomp(basis, 5, rand=False)
    found = pivots(left, right)
    assert found.order[:5].tolist() == order[:5].tolist()
    by_place = dict(zip(found.order[5:].tolist(), found.inner.T.numpy(), strict=True))
    expected = dict(zip(order[5:].tolist(), projection.T, strict=True))
    for place, column in by_place.items():
        np.testing.assert_allclose(column, expected[place], atol=1e-10)


def test_columns_that_are_nearly_one_are_not_both_pivots():
    left, right = factors_of(24, 32, 6, dtype=torch.float32)
    right[:, 1:6] = right[:, :1] + 1e-4 * right[:, 1:6]  # the first six are no basis of anything
    found = pivots(left, right)
    assert found.inner.abs().max() < 3
    torch.testing.assert_close(composed(*found), left @ right, rtol=1e-4, atol=1e-4)


def test_a_direction_without_a_size_does_no_harm():
    left, right = factors_of(12, 20, 5)
    right[3] = 0
    found = pivots(left, right)
    assert found.inner.isfinite().all()
    torch.testing.assert_close(composed(*found), left @ right, rtol=1e-10, atol=1e-10)


def test_the_fused_model_answers_as_in_training_and_says_its_weight(learning):
    fused = in_pivot_form(learning)
    for i, factors in enumerate(all_factors(learning)):
        factors.fix(16 if i % 4 == 1 else 5)
    x = torch.randn(7, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(fused(x), learning(x), rtol=1e-9, atol=1e-9)
    assert {type(fused.blocks[0].packed), type(fused.blocks[0].wide)} == {PivotLinear}
    for place in ("packed", "wide"):
        ours, theirs = (getattr(model.blocks[1], place).weight for model in (fused, learning))
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_as_pairs_it_answers_the_same_from_more_numbers(learning):
    fused = in_pivot_form(learning)
    fused.blocks[1].wide = fused.blocks[0].wide  # the same layer at two paths
    x = torch.randn(7, 5, 6, dtype=torch.float64)
    want, small = fused(x), parameter_counts(fused, SELECTION).total
    assert as_pairs(fused) is fused
    assert not any(isinstance(m, PivotLinear) for m in fused.modules())
    torch.testing.assert_close(fused(x), want, rtol=1e-9, atol=1e-9)
    assert fused.blocks[1].wide is fused.blocks[0].wide
    assert [piece.rank for piece in fused.blocks[0].packed.layout] == [5, None, 5]
    assert parameter_counts(fused, SELECTION).total == small + 5 * 5 * 5
    fused(x).sum().backward()
    assert all(p.grad is not None for p in fused.parameters())


def test_gradients_reach_every_parameter(learning):
    fused = in_pivot_form(learning)
    fused(torch.randn(9, 6, dtype=torch.float64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in fused.parameters())


def test_in_bfloat16_it_is_as_near_as_a_pair():
    left, right = factors_of(96, 128, 40, dtype=torch.float32)
    pair, ours = (
        LowRankLinear(128, [Piece(96, 40)], bias=False),
        PivotLinear(128, [Piece(96, 40)], bias=False),
    )
    found, x = pivots(left, right), torch.randn(64, 128)
    with torch.no_grad():
        pair.inner.copy_(right), pair.outer[0].copy_(left)
        ours.inner[0].copy_(found.inner), ours.outer[0].copy_(found.outer)
        ours.order.copy_(found.order[None])
        exact = x @ (left @ right).T
        errors = [(m.bfloat16()(x.bfloat16()).float() - exact).norm() / exact.norm() for m in (pair, ours)]
    assert ours.order.dtype == torch.int64
    assert errors[1] < 1.5 * errors[0]


def test_a_rank_costs_fewer_parameters_and_full_rank_those_of_dense():
    assert kept_parameters(37, 128, 128, "pivot") == 37 * 219 < kept_parameters(32, 128, 128)
    assert kept_parameters(128, 128, 512, "pivot") == 128 * 512
    assert [PARAMETERS(rank, 16, 24, "pivot") for rank in (1, 8, 15, 16)] == [39, 256, 375, 384]
    assert possible_ranks(16, 24, 4, 2, form="pivot") == [4, 8, 12, 16]
    assert possible_ranks(16, 24, 4, 2) == [4, 8, 16]


def test_the_count_is_that_of_the_fused_model(learning):
    set_form(learning, "pivot")
    for rank, factors in enumerate(all_factors(learning), start=8):
        factors.fix(rank)
    predicted = parameter_counts(learning, SELECTION)
    fused = fuse(learning)
    assert predicted == parameter_counts(fused, SELECTION)
    assert predicted.total == sum(p.numel() for p in fused.parameters())
    x = torch.randn(3, 6, dtype=torch.float64)
    rows = [3 * (rank * (16 + m - rank)) for rank, m in zip(range(8, 16), (16, 16, 16, 32) * 2, strict=True)]
    assert sum(linear_macs(fused, lambda: fused(x)).values()) == sum(rows) + 3 * (6 * 16 + 16 * 3)


def test_an_even_share_is_one_of_parameters_in_pivot_form():
    shapes = (96, 96), (192, 96), (96, 1536)
    factors = [Factors(torch.randn(shape)) for shape in shapes]
    for f in factors:
        f.form = "pivot"
    allowed = 0.5 * sum(m * n for m, n in shapes)
    ranks = choose_ranks(factors, allowed, 1, 2, by_share)
    shares = [f.parameters_at(r) / (f.shape[0] * f.shape[1]) for f, r in zip(factors, ranks, strict=True)]
    assert ranks[0] >= 28  # of a pair 24
    assert max(shares) - min(shares) < 0.04
    assert sum(f.parameters_at(r) for f, r in zip(factors, ranks, strict=True)) <= allowed


@pytest.mark.parametrize("method", ["soft-threshold", "whitened-svd", "learned-mask"])
def test_a_run_has_more_rank_in_no_more_parameters(tmp_path, method):
    found = {}
    for form in ("pair", "pivot"):
        model, history, ranks = run(method, tmp_path / form, form=form, recover_steps=3)
        kept = parameter_counts(fuse(model), SELECTION)
        assert kept.total == history["parameters"].iloc[-1]
        assert kept.over(parameter_counts(network(), SELECTION)).total <= 0.6
        found[form] = ranks["rank"].sum()
    assert found["pivot"] > found["pair"]
    assert any(isinstance(m, PivotLinear) for m in model.modules())
    assert not any(isinstance(m, LowRankLinear) for m in model.modules())


def test_tables_stay_pairs_and_layers_tied_to_them():
    model = tiny("gpt2")
    decompose(model, FAMILIES["gpt2"], embeddings=True)
    set_form(model, "pivot")
    for factors in all_factors(model):
        factors.fix(6)
    counts = parameter_counts(model, FAMILIES["gpt2"], embeddings=True)
    fuse(model)
    assert isinstance(model.transformer.wte, LowRankEmbedding)
    assert isinstance(model.lm_head, LowRankLinear)
    assert isinstance(model.transformer.h[0].attn.c_attn, PivotLinear)
    assert parameter_counts(model, FAMILIES["gpt2"], embeddings=True) == counts


def test_layers_that_share_a_weight_share_its_pivots():
    model = network().eval()
    model.blocks[1].wide.weight = model.blocks[0].wide.weight
    decompose(model, SELECTION)
    set_form(model, "pivot")
    for factors in all_factors(model):
        factors.fix(4)
    counts = parameter_counts(model, SELECTION)
    fuse(model)
    assert model.blocks[0].wide.inner[0] is model.blocks[1].wide.inner[0]
    assert parameter_counts(model, SELECTION) == counts


@pytest.fixture
def folder(tmp_path, learning):
    model = in_pivot_form(learning.float())
    save_compressed(
        tmp_path, model, base_model="small", licence="MIT", how={}, kept=Shares(1, 1, 1), architecture={}
    )
    return tmp_path, model


def test_a_loaded_model_is_the_saved_model(folder):
    loaded, x = load_compressed(folder[0], network(seed=7)), torch.randn(4, 6)
    assert torch.equal(loaded(x), folder[1](x))
    assert isinstance(loaded.blocks[0].packed, PivotLinear)


def test_an_order_that_is_none_is_one_line(folder):
    file = folder[0] / "model.safetensors"
    weights = safetensors.torch.load_file(file)
    weights["blocks.0.packed.order"][1, 3] = 99
    safetensors.torch.save_file(weights, file)
    with pytest.raises(InputError, match=r"blocks\.0\.packed\.order: is no order of the inputs") as caught:
        load_compressed(folder[0], network())
    assert "\n" not in str(caught.value)


def test_it_prints_its_ranks():
    layer = PivotLinear(8, [Piece(4, 2), Piece(4, None)])
    assert "in_features=8, out_features=8, ranks=[2, dense]" in repr(layer)
    assert isinstance(layer.bias, nn.Parameter)
