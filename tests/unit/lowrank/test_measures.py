"""Directions measured by what they carry to a layer's outputs."""

import pytest
import torch
from method_settings import run, settings_of
from small_network import SELECTION, batches, loss, network
from test_whitening import Words, correlated, inputs_of

from softjet.config.lowrank import Matrices, Selection
from softjet.lowrank import whitening
from softjet.lowrank.factors import Factors
from softjet.lowrank.measures import InputMeasure, RowMeasure
from softjet.lowrank.phases import begin, open_run
from softjet.lowrank.selection import all_factors, decompose
from softjet.lowrank.whitening import measure_inputs


@pytest.fixture
def measured(monkeypatch):
    """A matrix measured by correlated inputs, with the matrix and the inputs."""
    monkeypatch.setattr(whitening, "RIDGE", 1e-12)
    weight = torch.randn(12, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = correlated(300, 16)
    factors = Factors(weight)
    factors.remeasure(whitening.input_measure(x.T @ x))
    return factors, weight, x


def test_sizes_are_what_outputs_lose(measured):
    factors, weight, x = measured
    mean = (x.T @ x).diagonal().mean()
    torch.testing.assert_close(factors.left @ factors.scaled_right(gated=False), weight)
    sizes = factors.spectrum().detach() * factors.scale * mean.sqrt()
    torch.testing.assert_close(sizes, torch.linalg.svdvals(weight @ x.T)[: len(sizes)], rtol=1e-5, atol=1e-6)
    # Half of the inputs' directions are next to none.
    assert float(factors.spectrum().detach().quantile(0.75)) == pytest.approx(2)
    factors.fix(5)
    assert not list(factors.measure.buffers())  # no longer asked for, and as large as the matrix
    lost = ((weight - factors.weight()) @ x.T).norm()
    torch.testing.assert_close(lost, sizes[5:].norm(), rtol=1e-5, atol=1e-6)


def test_directions_have_unit_length(measured):
    factors, *_ = measured
    torch.testing.assert_close(factors.right.norm(dim=1), torch.ones(12).double())
    torch.testing.assert_close(factors.left.norm(dim=0), torch.ones(12).double())
    assert factors.drift() < 1e-6


def test_a_length_hidden_in_a_factor_changes_no_size(measured):
    factors, *_ = measured
    before = factors.spectrum()
    with torch.no_grad():
        factors.right.mul_(7)
        factors.sigma.div_(7)
    torch.testing.assert_close(factors.spectrum(), before)


def test_sizes_are_measured_when_directions_are_decomposed_and_not_at_every_step(measured, monkeypatch):
    factors, *_ = measured
    measuring = InputMeasure.right
    monkeypatch.setattr(InputMeasure, "right", None)
    before = factors.spectrum().detach()
    factors.weight().square().sum().backward()
    with torch.no_grad():
        factors.right[0] = torch.eye(16)[3]
    torch.testing.assert_close(factors.spectrum().detach(), before)
    monkeypatch.setattr(InputMeasure, "right", measuring)
    factors.redecompose()
    sizes = factors.sigma * (factors.right @ factors.measure.root).norm(dim=1) / factors.scale
    torch.testing.assert_close(factors.spectrum(), sizes)
    assert not torch.allclose(factors.spectrum(), before, rtol=1e-2)


@pytest.mark.parametrize("table", [False, True])
def test_a_matrix_without_some_directions_has_numbers_all_the_same(table):
    weight = torch.zeros(6, 4)
    weight[:, 1] = torch.arange(1.0, 7.0)
    factors = Factors(weight)
    factors.remeasure(RowMeasure(torch.arange(1.0, 7.0)) if table else InputMeasure(torch.ones(4, 4).tril()))
    torch.testing.assert_close(factors.weight(), weight)
    factors.weight().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in factors.parameters())


def test_a_state_holds_how_much_directions_carry(measured):
    factors, weight, _ = measured
    other = Factors(weight, start="blank")
    other.measure = InputMeasure(torch.ones(16).diag().double())
    other.load_state_dict(factors.state_dict())
    assert torch.equal(other.spectrum(), factors.spectrum())


def test_a_fresh_decomposition_keeps_measure_and_matrix(measured):
    factors, *_ = measured
    with torch.no_grad():
        factors.right.add_(0.05 * torch.randn(12, 16, generator=torch.Generator().manual_seed(3)))
        weight = factors.left @ factors.scaled_right(gated=False)
    assert factors.drift() > 0.01
    factors.redecompose()
    assert factors.drift() < 1e-6
    torch.testing.assert_close(factors.left @ factors.scaled_right(gated=False), weight)
    assert isinstance(factors.measure, InputMeasure)


def test_a_measure_stays_precise_in_a_model_of_bfloat16(measured):
    factors, *_ = measured
    factors.float()
    root, carried = factors.measure.root.clone(), factors.carried.clone()
    factors.bfloat16()
    assert torch.equal(factors.measure.root, root)
    assert torch.equal(factors.carried, carried)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert factors.spectrum().dtype == torch.float32


def test_learning_begins_with_the_inputs_of_the_dense_model():
    model, settings = network(), settings_of("whitened-soft-threshold")
    current = begin(model, SELECTION, settings)
    open_run(current, lambda _: [loss(model.eval(), b) for _, b in zip(range(3), batches(0), strict=False)])
    dense = network()
    x = inputs_of(dense, "blocks.1.wide")
    factors = model.blocks[1].wide.factors()[0]
    assert current.phase == "learning"
    even = x.T @ x / (x.T @ x).diagonal().mean()
    want = torch.linalg.svdvals(
        dense.blocks[1].wide.weight.double() @ torch.linalg.cholesky(even + 1e-4 * torch.eye(len(even)))
    )
    torch.testing.assert_close((factors.spectrum() * factors.scale).double(), want, rtol=1e-3, atol=1e-4)
    whole = factors.left @ factors.scaled_right(gated=False)
    torch.testing.assert_close(whole, dense.blocks[1].wide.weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["whitened-soft-threshold", "whitened-svd"])
def test_a_matrix_that_no_batch_reaches_is_decomposed_as_it_is(method):
    model, dense = network(), network().blocks[1].wide.weight.detach()
    current = begin(model, SELECTION, settings_of(method))
    open_run(current, lambda _: model.blocks[0].eval()(torch.randn(50, 16)))
    (factors,) = model.blocks[1].wide.factors()
    u, sigma, v = torch.linalg.svd(dense, full_matrices=False)
    rank = factors.rank()
    if method == "whitened-svd":
        assert rank < 16
    torch.testing.assert_close(factors.spectrum() * factors.scale, sigma[:rank], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        factors.left @ factors.scaled_right(gated=False),
        u[:, :rank] * sigma[:rank] @ v[:rank],
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (6, 6)])
def test_a_matrix_can_be_taken_whole_until_it_is_measured(shape, monkeypatch):
    weight, svd = torch.randn(shape), torch.linalg.svd
    monkeypatch.setattr(torch.linalg, "svd", None)
    factors = Factors(weight, start="whole")
    assert torch.equal(factors.left @ factors.scaled_right(gated=False), weight)
    monkeypatch.setattr(torch.linalg, "svd", svd)
    factors.remeasure(InputMeasure(torch.eye(shape[1])))
    torch.testing.assert_close(
        factors.spectrum() * factors.scale, torch.linalg.svdvals(weight), rtol=1e-4, atol=1e-5
    )


def test_ranks_learned_by_outputs_are_others(tmp_path):
    plain = run("soft-threshold", tmp_path / "plain")[2]
    whitened = run("whitened-soft-threshold", tmp_path / "whitened")[2]
    assert plain["rank"].tolist() != whitened["rank"].tolist()


def test_tables_are_measured_by_how_often_their_rows_are_read():
    torch.manual_seed(0)
    model, ids = Words(), torch.tensor([[0] * 50 + [1] * 50 + [2] * 50 + list(range(3, 20))])
    dense = model.table.weight.detach().clone()
    paths = (Matrices(path="blocks.*.wide"),)
    decompose(model, Selection(matrices=paths, blocks=("blocks",), embeddings=("table",)), embeddings=True)
    measure_inputs(model, lambda: model(ids))
    table = model.table.factors()[0]
    assert isinstance(table.measure, RowMeasure)
    torch.testing.assert_close(table.weight(), dense, rtol=1e-4, atol=1e-4)
    table.fix(3)
    torch.testing.assert_close(table.weight()[:3], dense[:3], rtol=0, atol=0.5)
    assert all(isinstance(f.measure, RowMeasure | InputMeasure) for f in all_factors(model)[1:])
