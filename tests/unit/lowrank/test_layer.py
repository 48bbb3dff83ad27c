"""Layers whose rank is learned, and what they become."""

import copy

import pytest
import torch
from small_network import SELECTION, network
from torch import nn

from softjet.lowrank import LowRankLinear, SoftThresholdLinear, fuse, parameter_counts
from softjet.lowrank.factors import Factors, factorised, kept_parameters
from softjet.lowrank.selection import all_factors, decompose


def matrix(m=24, n=16, seed=0):
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed))


def learning_model(alpha, dtype=torch.float32):
    model = network().to(dtype).eval()
    decompose(model, SELECTION)
    with torch.no_grad():
        for i, factors in enumerate(all_factors(model)):
            factors.alpha.fill_(alpha + 0.1 * i)
            # A learned model: neither orthonormal nor sorted.
            for p in (factors.left, factors.sigma, factors.right):
                p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i), dtype=dtype))
    return model


def inputs(dtype=torch.float32):
    return torch.randn(7, 5, 6, generator=torch.Generator().manual_seed(9), dtype=dtype)


def test_packed_layer_at_full_rank_is_the_packed_dense_layer():
    dense = nn.Linear(16, 36)
    packed = SoftThresholdLinear(copy.deepcopy(dense), factorised(dense.weight, pieces=3))
    for factors in packed.factors():
        factors.fix(12)
    x = torch.randn(5, 16)
    torch.testing.assert_close(packed(x), dense(x), rtol=1e-5, atol=1e-5)
    assert [f.shape for f in packed.factors()] == [(12, 16)] * 3


def test_weight_is_u_s_v_by_hand():
    layer = SoftThresholdLinear(nn.Linear(6, 4, bias=False).double())
    factors = layer.factors()[0]
    with torch.no_grad():
        factors.alpha.fill_(1.01)
    u, s, v = torch.linalg.svd(factors.left @ factors.sigma.diag() @ factors.right, full_matrices=False)
    x = s / s.median()
    passed = torch.where(x > 1.01, x * torch.tanh(50 * (x - 1.01)), 0) * s.median()
    token = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(token), (token @ v.T * passed) @ u.T)
    assert layer.factors()[0].rank() == (x > 1.01).sum()


# Trap 1: the export used another threshold function than the training.
@pytest.mark.parametrize("phase", ["learning", "recovery"])
@pytest.mark.parametrize("alpha", [0.0, 0.9, 1.2])
def test_fused_forward_equals_the_training_forward(alpha, phase):
    model = learning_model(alpha, torch.float64)
    if phase == "recovery":
        for i, factors in enumerate(all_factors(model)):
            factors.fix(2 + 2 * i)
    fused = fuse(copy.deepcopy(model))
    assert not any(isinstance(m, SoftThresholdLinear) for m in fused.modules())
    assert any(isinstance(m, LowRankLinear) for m in fused.modules()) or alpha == 0.0
    x = inputs(torch.float64)
    torch.testing.assert_close(fused(x), model(x), rtol=1e-10, atol=1e-10)


def test_fused_gradient_reaches_every_parameter():
    fused = fuse(learning_model(0.8))
    fused(inputs()).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in fused.parameters())


@pytest.mark.parametrize("alpha", [0.0, 0.8, 1.0, 1.3])
def test_learning_counts_are_the_numbers_of_the_fused_model(alpha):
    model = learning_model(alpha)
    predicted = parameter_counts(model, SELECTION)
    fused = fuse(copy.deepcopy(model))
    assert predicted == parameter_counts(fused, SELECTION)
    assert predicted.total == sum(p.numel() for p in fused.parameters())
    assert predicted.blocks == sum(p.numel() for p in fused.blocks.parameters())


def test_break_even_keeps_the_matrix_dense():
    assert kept_parameters(63, 128, 128) == 63 * 256
    assert kept_parameters(64, 128, 128) == kept_parameters(128, 128, 128) == 128 * 128
    linear = SoftThresholdLinear(nn.Linear(16, 16))
    linear.factors()[0].fix(8)
    assert isinstance(fuse(nn.Sequential(linear))[0], nn.Linear)


# Trap 3: rounding a rank up re-admitted directions at a fraction of their value.
def test_fixed_directions_are_at_full_magnitude():
    factors = Factors(matrix())
    x = factors.spectrum().detach()
    with torch.no_grad():
        factors.alpha.copy_(x[5])
    factors.fix(9)
    torch.testing.assert_close(factors.passed(), x[:9])
    truncated = torch.linalg.svd(matrix(), full_matrices=False)
    by_hand = truncated.U[:, :9] @ truncated.S[:9].diag() @ truncated.Vh[:9]
    torch.testing.assert_close(factors.weight(), by_hand, rtol=1e-4, atol=1e-5)


# Trap 2: a threshold frozen by a rate of 0 came back to life.
def test_a_fixed_threshold_is_out_of_reach_of_any_optimiser():
    factors = Factors(matrix())
    factors.alpha.grad = torch.ones(())
    factors.fix(4)
    optimiser = torch.optim.AdamW(factors.parameters(), lr=1.0, weight_decay=0.1)
    factors.weight().square().sum().backward()
    optimiser.step()
    assert not factors.alpha.requires_grad
    assert factors.alpha.item() == 0.0
    assert factors.rank() == 4


# Trap 4: a threshold climbed past a whole spectrum; small margins vanished in bfloat16.
def test_the_floor_holds_against_any_threshold():
    factors = Factors(matrix())
    with torch.no_grad():
        factors.alpha.fill_(1e3)
    factors.hold_floor(5)
    assert factors.rank() == 5
    assert factors.alpha.bfloat16() < factors.spectrum().sort(descending=True).values[4].bfloat16()


def test_spectrum_and_threshold_stay_float32_in_a_bfloat16_model():
    model = nn.Sequential(SoftThresholdLinear(nn.Linear(16, 16)))
    factors = all_factors(model)[0]
    with torch.no_grad():
        factors.alpha.fill_(1.0009765)
    sigma = factors.sigma.detach().clone()
    model.bfloat16()
    assert factors.left.dtype == torch.bfloat16
    assert factors.sigma.dtype == factors.alpha.dtype == factors.scale.dtype == torch.float32
    assert torch.equal(factors.sigma, sigma)
    assert factors.alpha.item() == pytest.approx(1.0009765, abs=1e-7)
    assert model(torch.randn(2, 16).bfloat16()).dtype == torch.bfloat16
    assert model.double()[0].factors()[0].sigma.dtype == torch.float64


# Trap 7: thresholds in raw units mean another thing for every matrix.
@pytest.mark.parametrize("size", [1e-4, 1e3])
def test_thresholds_do_not_depend_on_the_size_of_the_matrix(size):
    one, other = Factors(matrix()), Factors(matrix() * size)
    for factors in (one, other):
        with torch.no_grad():
            factors.alpha.fill_(1.1)
    assert one.rank() == other.rank()
    torch.testing.assert_close(other.weight(), one.weight() * size, rtol=1e-4, atol=1e-5 * size)
    gradients = [torch.autograd.grad((f.weight() / f.scale).square().sum(), f.alpha)[0] for f in (one, other)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


# Trap 9: the size of sigma hid in U and V, and the threshold was evaded.
def test_moving_a_factor_between_sigma_and_u_changes_nothing():
    factors = Factors(matrix())
    with torch.no_grad():
        factors.alpha.fill_(1.1)
        rank, weight, selected = factors.rank(), factors.weight(), factors.selected()
        factors.left.mul_(100.0)
        factors.sigma.div_(100.0)
        factors.right[3:].mul_(7.0)
        factors.sigma[3:].div_(7.0)
    assert factors.rank() == rank < 16
    assert torch.equal(factors.selected(), selected)
    torch.testing.assert_close(factors.weight(), weight)


def test_redecomposition_restores_a_true_decomposition_of_the_same_matrix():
    factors = Factors(matrix())
    before = factors.drift()
    with torch.no_grad():
        factors.left[:, 1].add_(factors.left[:, 0])  # no longer orthogonal
        whole = factors.left @ factors.scaled_right(gated=False)
    assert before < 1e-5
    assert factors.drift() == pytest.approx(2**-0.5, abs=1e-4)
    factors.redecompose()
    assert factors.drift() < 1e-5
    torch.testing.assert_close(factors.spectrum() * factors.scale, torch.linalg.svdvals(whole))
    factors.fix(16)
    torch.testing.assert_close(factors.weight(), whole, rtol=1e-4, atol=1e-5)


def test_a_matrix_of_low_rank_has_a_scale():
    factors = Factors(torch.ones(8, 8))
    assert factors.scale > 0
    assert torch.isfinite(factors.weight()).all()
