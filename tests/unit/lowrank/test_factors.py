"""One matrix, its directions and the gates that let them pass."""

import copy

import pytest
import torch
from small_network import SELECTION, network
from torch import nn
from torch.nn import functional

from softjet.errors import InputError
from softjet.lowrank import SoftThresholdLinear, choose_ranks, fuse, parameter_counts
from softjet.lowrank.factors import Factors, factorised
from softjet.lowrank.gates import MaskGate, SoftGate
from softjet.lowrank.ranks import table_rows
from softjet.lowrank.selection import all_factors, decompose


def matrix(m=24, n=16, seed=0):
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed))


def masked(off=(0, 3), k=16):
    factors = Factors(matrix(), MaskGate(k))
    with torch.no_grad():
        factors.gate.scores[list(off)] = -0.5
    return factors


def test_a_mask_starts_open_and_removes_whole_directions():
    whole = Factors(matrix(), MaskGate(16))
    torch.testing.assert_close(whole.weight(), matrix(), rtol=1e-4, atol=1e-5)
    factors = masked()
    u, s, v = torch.linalg.svd(matrix(), full_matrices=False)
    kept = [i for i in range(16) if i not in (0, 3)]
    torch.testing.assert_close(factors.weight(), u[:, kept] @ s[kept].diag() @ v[kept], rtol=1e-4, atol=1e-5)
    assert factors.rank() == 14


def test_the_gradient_of_a_mask_goes_straight_through_also_where_it_is_off():
    factors = masked()
    factors.passed().sum().backward()
    torch.testing.assert_close(factors.gate.scores.grad, factors.spectrum().detach())
    factors.gate.scores.grad = None
    factors.gate.l1().backward()
    assert factors.gate.scores.grad.tolist() == [0.0 if i in (0, 3) else 1.0 for i in range(16)]
    assert factors.gate.l1().item() == 14


# Trap 4: a mask, too, must not close on a whole matrix.
def test_the_floor_of_a_mask_opens_its_highest_scores():
    factors = Factors(matrix(), MaskGate(16))
    with torch.no_grad():
        factors.gate.scores.copy_(-torch.arange(16.0))
    factors.hold_floor(5)
    assert factors.selected().tolist() == [True] * 5 + [False] * 11
    assert (factors.gate.scores[:5].bfloat16() > 0).all()


def test_a_fresh_decomposition_leaves_masked_directions_alone():
    factors = masked()
    with torch.no_grad():
        factors.left[:, 1].mul_(3.0)
    before = factors.weight()
    factors.redecompose()
    assert torch.equal(factors.weight(), before)


def test_a_budget_keeps_what_a_mask_scores_highest_and_of_equal_scores_the_larger():
    factors = Factors(matrix(), MaskGate(16))
    with torch.no_grad():
        factors.gate.scores[9] = 2.0
    x = factors.spectrum().detach()
    assert choose_ranks([factors], 3 * 40, 1, 1) == [3]
    factors.fix(3)
    torch.testing.assert_close(factors.passed(), x[[0, 1, 9]])


@pytest.mark.parametrize("gate", [SoftGate, lambda: MaskGate(16)], ids=["soft", "mask"])
def test_gates_stay_float32_in_a_bfloat16_model(gate):
    model = nn.Sequential(SoftThresholdLinear(nn.Linear(16, 24), [Factors(matrix(), gate())]))
    values = [p.detach().add_(1e-4).clone() for p in model[0].pieces[0].gate.parameters()]
    model.bfloat16()
    assert model(torch.randn(3, 16).bfloat16()).dtype == torch.bfloat16
    assert all(map(torch.equal, values, model[0].pieces[0].gate.parameters()))
    model.double()
    assert next(model[0].pieces[0].gate.parameters()).dtype == torch.float64


def test_fixed_ranks_cost_what_the_small_model_costs():
    model = network()
    decompose(model, SELECTION)
    for factors in all_factors(model):
        factors.fix(3)
    for factors in all_factors(model):
        m, n = factors.shape
        assert [p.shape for p in (factors.left, factors.sigma, factors.right)] == [(m, 3), (3,), (3, n)]
    state = model.state_dict()
    other = network(seed=3)
    decompose(other, SELECTION)
    for factors in all_factors(other):
        factors.fix(3)
    other.load_state_dict(state)
    x = torch.randn(4, 6)
    assert torch.equal(other.eval()(x), model.eval()(x))


@pytest.mark.parametrize("shape", [(24, 16), (16, 24)])
def test_a_product_of_thin_matrices_is_taken_as_its_own_decomposition(shape):
    outer, inner = matrix(shape[0], 5, 1), matrix(5, shape[1], 2)
    factors, expected = (Factors(matrix(*shape), start="whole") for _ in range(2))
    factors.reset_product(outer, inner)
    expected.reset(outer @ inner)
    for one in (factors, expected):
        one.fix(5)
    torch.testing.assert_close(factors.sigma, expected.sigma)
    torch.testing.assert_close(factors.weight(), outer @ inner, rtol=1e-4, atol=1e-5)
    assert factors.drift() < 1e-5


def test_another_matrix_takes_the_place_and_keeps_scale_and_gate():
    factors = Factors(matrix())
    scale = factors.scale.clone()
    with torch.no_grad():
        factors.alpha.fill_(0.3)
    factors.reset(2 * matrix(seed=5))
    assert torch.equal(factors.scale, scale)
    assert factors.alpha.item() == pytest.approx(0.3)
    torch.testing.assert_close(
        factors.spectrum() * scale, 2 * torch.linalg.svdvals(matrix(seed=5)), rtol=1e-4, atol=1e-5
    )
    factors.fix(4)
    narrow = matrix(24, 4) @ matrix(4, 16)
    factors.reset(narrow)
    torch.testing.assert_close(factors.weight(), narrow, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("train", ["all", "spectrum"])
def test_with_the_spectrum_alone_trained_the_directions_get_no_gradient(train):
    model = network()
    decompose(model, SELECTION, train=train)
    model(torch.randn(5, 6)).square().sum().backward()
    for factors in all_factors(model):
        assert (factors.sigma.grad != 0).any()
        assert factors.gate.alpha.grad is not None
        assert (factors.left.grad is not None) == (factors.right.grad is not None) == (train == "all")
        factors.fix(2)
        assert factors.left.requires_grad == factors.right.requires_grad == (train == "all")
        assert factors.sigma.requires_grad


@pytest.mark.parametrize("train", ["all", "spectrum"])
@pytest.mark.parametrize("bias", [True, False])
def test_both_orders_of_multiplication_are_the_same_function(bias, train, monkeypatch):
    factors = factorised(matrix(36).double(), 3, lambda _: SoftGate(), train)
    layer = SoftThresholdLinear(nn.Linear(16, 36, bias).double(), factors)
    with torch.no_grad():
        for one in factors:
            one.alpha.fill_(1.05)
    x = torch.randn(400, 16, dtype=torch.float64)
    whole = functional.linear(x, layer.weight, layer.bias)
    sigmas = [one.sigma for one in factors]
    expected = torch.autograd.grad(whole[:1].square().sum(), sigmas)
    for of, name, rows in ((Factors, "weight", 1), (SoftThresholdLinear, "_apart", 400)):
        with monkeypatch.context() as patch:
            patch.setattr(of, name, None)
            found = layer(x[:rows])
        torch.testing.assert_close(found, whole[:rows], rtol=1e-12, atol=1e-12)
        gradients = torch.autograd.grad(found[:1].square().sum(), sigmas)
        torch.testing.assert_close(gradients, expected, rtol=1e-10, atol=1e-10)


# Trap 1: with a mask, too, the fused model is the model that was trained.
@pytest.mark.parametrize("fixed", [False, True])
def test_a_fused_mask_is_the_forward_of_training(fixed):
    model = network().double().eval()
    decompose(model, SELECTION, MaskGate)
    for i, factors in enumerate(all_factors(model)):
        with torch.no_grad():
            factors.gate.scores[: 9 + i % 3] = -1.0
        if fixed:
            factors.fix(3)
    x = torch.randn(7, 6, dtype=torch.float64)
    want, counts = model(x), parameter_counts(model, SELECTION)
    fuse(model)
    torch.testing.assert_close(model(x), want, rtol=1e-10, atol=1e-10)
    assert parameter_counts(model, SELECTION) == counts


def test_the_table_of_ranks_has_no_threshold_without_one():
    model = network()
    decompose(model, SELECTION, MaskGate)
    rows = table_rows(model, SELECTION, [4] * 8)
    assert all(row["threshold"] != row["threshold"] and row["learned_rank"] == row["n"] for row in rows)


def test_the_table_of_ranks_tells_which_directions_are_kept():
    model = network()
    decompose(model, SELECTION, MaskGate)
    for factors in all_factors(model):
        with torch.no_grad():
            factors.gate.scores[:3] = -1.0
    rows = table_rows(model, SELECTION, [2] * 8)
    for row, factors in zip(rows, all_factors(model), strict=True):
        sizes = torch.tensor(row["spectrum"])[row["kept"]]
        factors.fix(2)
        torch.testing.assert_close(sizes, factors.spectrum() * factors.scale)
        assert not any(row["kept"][:3])


def test_weights_that_two_layers_share_stay_shared_and_count_once():
    model = network()
    model.blocks[1].wide.weight = model.blocks[0].wide.weight
    model.alias = model.blocks[0].packed
    dense = parameter_counts(model, SELECTION)
    assert dense.linears == 2 * 3 * 256 + 512
    x = torch.randn(4, 6)
    want = model.eval()(x)
    decompose(model, SELECTION)
    assert len(all_factors(model)) == 7
    assert model.alias is model.blocks[0].packed
    assert parameter_counts(model, SELECTION) == dense
    assert len(table_rows(model, SELECTION, [16] * 7)) == 7
    for factors in all_factors(model):
        factors.fix(16)
    torch.testing.assert_close(model(x), want, rtol=1e-4, atol=1e-4)
    for rank in (16, 3):
        fused = copy.deepcopy(model)
        for factors in all_factors(fused):
            factors.fix(rank)
        fuse(fused)
        one, other = fused.blocks[0].wide, fused.blocks[1].wide
        assert (one.inner is other.inner) if rank == 3 else (one.weight is other.weight)
        assert fused.alias is fused.blocks[0].packed


def test_a_model_is_decomposed_once():
    model = network()
    decompose(model, SELECTION)
    with pytest.raises(
        InputError, match=r"blocks.0.packed: is not dense any more; start from the dense model"
    ):
        decompose(model, SELECTION)


def test_a_selection_of_nothing_is_an_error():
    with pytest.raises(InputError, match="name no matrix of the model"):
        decompose(network(), SELECTION.model_copy(update={"matrices": ()}))
