"""The soft threshold against its formula and against finite differences."""

import numpy as np
import pytest
import torch

from softjet.lowrank import soft_threshold


def by_hand(x, alpha, s, c):
    """S(x) and its two derivatives, from the published equations."""
    t = np.tanh(s * (x - alpha))
    bend = s * (1 - t**2)
    if x > alpha:
        return x * t, t + x * bend, -x * bend
    return -c * t, -c * bend, c * bend


@pytest.mark.parametrize("leak", [0.0, 0.2])
@pytest.mark.parametrize("sharpness", [5.0, 50.0])
@pytest.mark.parametrize(("x", "alpha"), [(1.0, 0.95), (0.9, 0.95), (2.5, 0.3), (0.31, 0.3), (0.0, 0.0)])
def test_value_and_gradients_are_those_of_the_equations(x, alpha, sharpness, leak):
    sigma = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    threshold = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    value = soft_threshold(sigma, threshold, sharpness, leak)
    value.sum().backward()
    got = value.item(), sigma.grad.item(), threshold.grad.item()
    np.testing.assert_allclose(got, by_hand(x, alpha, sharpness, leak), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("leak", [0.0, 0.2])
def test_gradients_match_finite_differences(leak):
    sigma = torch.tensor([1.9, 1.02, 0.93, 0.5, 0.1], dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor(0.95, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, a: soft_threshold(x, a, 50.0, leak), (sigma, alpha), eps=1e-7)


def test_survivors_keep_their_value_and_the_rest_is_exactly_zero():
    sigma = torch.tensor([3.0, 2.0, 0.9, 0.0])
    out = soft_threshold(sigma, torch.tensor(1.0))
    torch.testing.assert_close(out[:2], sigma[:2], rtol=1e-6, atol=0)
    assert (out[2:] == 0).all()


def test_directions_below_the_threshold_get_no_gradient_without_leak():
    sigma = torch.tensor([2.0, 0.9, 0.5], requires_grad=True)
    soft_threshold(sigma, torch.tensor(1.0)).sum().backward()
    assert (sigma.grad != 0).tolist() == [True, False, False]
