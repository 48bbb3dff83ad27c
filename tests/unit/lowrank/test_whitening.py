"""Activation-whitened truncation."""

import signal

import pytest
import torch
from method_settings import run, settings_of
from small_network import batches, loss, network
from torch import nn

from softjet.config.lowrank import Matrices, Selection
from softjet.errors import InputError
from softjet.lowrank import moments
from softjet.lowrank.selection import all_factors, decompose
from softjet.lowrank.whitening import whiten, whitened


def correlated(rows, features, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, generator=generator, dtype=torch.float64)
    scales = torch.logspace(0, 3, features, dtype=torch.float64)
    return torch.randn(rows, features, generator=generator, dtype=torch.float64) * scales @ mixing


@pytest.mark.parametrize("shape", [(10, 16), (24, 16)])
def test_the_result_is_that_of_the_whitened_decomposition_times_the_inverse(shape):
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = correlated(300, shape[1])
    root = torch.linalg.cholesky(x.T @ x)
    u, s, v = torch.linalg.svd(weight @ root, full_matrices=False)
    expected = u[:, :5] * s[:5] @ v[:5] @ torch.linalg.inv(root)
    outer, inner = whitened(weight, x.T @ x, 5)
    assert (outer.shape, inner.shape) == ((shape[0], 5), (5, shape[1]))
    torch.testing.assert_close(outer @ inner, expected, rtol=1e-6, atol=1e-8)


def test_outputs_change_less_than_with_plain_truncation_and_no_other_matrix_does_better():
    weight = torch.randn(12, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = correlated(300, 16)

    def error(changed):
        return ((weight - changed) @ x.T).norm()

    outer, inner = whitened(weight, x.T @ x, 4)
    u, s, v = torch.linalg.svd(weight)
    least = torch.linalg.svdvals(weight @ x.T)[4:].norm()  # Eckart and Young
    torch.testing.assert_close(error(outer @ inner), least)
    assert error(u[:, :4] * s[:4] @ v[:4]) > 1.5 * least


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_too_few_inputs_give_moments_a_ridge(rows):
    """A direction that no input has is ordered by its weight alone."""
    weight = torch.randn(12, 16, generator=torch.Generator().manual_seed(1))
    x = correlated(rows, 16)
    outer, inner = whitened(weight, x.T @ x, 8)
    assert torch.isfinite(outer).all()
    assert outer.dtype == torch.float32
    torch.testing.assert_close((outer @ inner).double() @ x.T, weight.double() @ x.T, rtol=1e-4, atol=1e-2)
    if rows == 0:
        u, s, v = torch.linalg.svd(weight)
        torch.testing.assert_close(outer @ inner, u[:, :8] * s[:8] @ v[:8], rtol=1e-4, atol=1e-5)


def inputs_of(model, path, steps=3):
    """What a layer gets in evaluation mode."""
    seen = []
    model.eval()
    hook = model.get_submodule(path).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for _, batch in zip(range(steps), batches(0), strict=False):
        loss(model, batch)
    hook.remove()
    return torch.cat(seen).detach().double()


@pytest.mark.parametrize("numbers", [2**27, 300])
def test_a_run_starts_from_truncations_whitened_by_the_dense_models_activations(
    tmp_path, monkeypatch, numbers
):
    monkeypatch.setattr(moments, "NUMBERS_AT_ONCE", numbers)
    model, _, ranks = run("whitened-svd", tmp_path, learn_steps=1, recover_steps=0, recover_rate=1e-30)
    dense = network()
    chosen = iter(zip(all_factors(model), ranks["rank"], strict=True))
    for path, pieces in (("blocks.0.packed", 3), ("blocks.0.wide", 1), ("blocks.1.packed", 3)):
        x = inputs_of(dense, path)
        for weight in dense.get_submodule(path).weight.detach().chunk(pieces):
            factors, rank = next(chosen)
            outer, inner = whitened(weight, x.T @ x, rank)
            assert factors.rank() == rank < 16
            torch.testing.assert_close(factors.weight(), outer @ inner, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("keep", [0.6, 1.0])
def test_spectra_are_singular_values_in_a_scale_of_the_dense_matrix(tmp_path, keep):
    model, _, ranks = run(
        "whitened-svd", tmp_path, keep=keep, learn_steps=1, recover_steps=0, recover_rate=1e-30
    )
    dense = network()
    chosen = iter(zip(all_factors(model), ranks.itertuples(), strict=True))
    for path in ranks["module"].unique():
        for weight in dense.get_submodule(path).weight.detach().chunk(3 if path.endswith("packed") else 1):
            factors, row = next(chosen)
            spectrum = torch.tensor(row.spectrum)
            torch.testing.assert_close(spectrum, torch.linalg.svdvals(factors.weight()), rtol=1e-4, atol=1e-5)
            assert int((spectrum > 1e-4).sum()) == sum(row.kept) == row.rank
            assert row.scale == pytest.approx(float(torch.linalg.svdvals(weight).median()), rel=1e-4)


def test_of_a_matrix_kept_whole_singular_values_are_trained(tmp_path):
    model, _, ranks = run(
        "whitened-svd", tmp_path, keep=1.0, train="spectrum", learn_steps=1, recover_steps=1
    )
    assert (ranks["rank"] == ranks[["m", "n"]].min(axis=1)).all()
    assert all(factors.drift() < 1e-5 for factors in all_factors(model))


def test_as_many_batches_as_asked_for_are_looked_at(tmp_path):
    looks = []

    def noted(model, batch):
        looks.append(model.training)
        return loss(model, batch)

    run("whitened-svd", tmp_path, task=noted, calibration=5, learn_steps=2, recover_steps=1)
    assert looks == [False] * 5 + [True] * 3
    assert settings_of("whitened-svd").calibration == 3


@pytest.fixture
def seconds():
    """A test that hangs fails instead."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", ["whitened-svd", "whitened-soft-threshold"])
def test_inputs_that_are_not_finite_are_one_line(tmp_path, seconds, method, value):
    def stream(start):
        for step, (x, y) in enumerate(batches(start), start):
            x[3, 2] = value if step == 1 else 0.0
            yield x, y

    with pytest.raises(InputError, match=r"blocks\.0\.packed: gets inputs that are not finite") as caught:
        run(method, tmp_path, stream=stream)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(30, 12)
        self.blocks = nn.ModuleList([nn.ModuleDict({"wide": nn.Linear(12, 12)})])
        self.leave = nn.Linear(12, 30, bias=False)
        self.leave.weight = self.table.weight

    def forward(self, ids):
        return self.leave(self.blocks[0]["wide"](self.table(ids)))


def test_tables_are_whitened_by_how_often_their_rows_are_read():
    torch.manual_seed(0)
    model, ids = Words(), torch.tensor([[0] * 50 + [1] * 50 + [2] * 50 + list(range(3, 20))])
    dense = model.table.weight.detach().clone()
    selection = Selection(
        matrices=(Matrices(path="blocks.*.wide"),), blocks=("blocks",), embeddings=("table",)
    )
    decompose(model, selection, embeddings=True)
    table, wide = all_factors(model)
    whiten(model, [3, 12], lambda: model(ids))
    table.fix(3)
    counts = ids.flatten().bincount(minlength=30).double()
    v = torch.linalg.svd(counts.sqrt()[:, None] * dense.double(), full_matrices=False).Vh[:3].float()
    torch.testing.assert_close(table.weight(), dense @ v.T @ v, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(table.weight()[:3], dense[:3], rtol=0, atol=0.5)
    assert wide.rank() == 12
    assert model.leave.factors()[0] is table


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleDict({"wide": nn.Linear(n, n + 4)}) for n in (8, 12))

    def forward(self, x):
        for block in self.blocks:
            x = block["wide"](x)
        return x


@pytest.mark.parametrize("inputs", [20, 30])
def test_too_few_inputs_for_a_layer_are_told(inputs, caplog):
    torch.manual_seed(0)
    model = Two()
    decompose(model, Selection(matrices=(Matrices(path="blocks.*.wide"),), blocks=("blocks",)))
    whiten(model, [3, 3], lambda: model(torch.randn(inputs // 10, 10, 8)))
    told = "blocks.1.wide was measured by 20 inputs of 12 features: raise calibration"
    assert caplog.messages == ([told] if inputs == 20 else [])
