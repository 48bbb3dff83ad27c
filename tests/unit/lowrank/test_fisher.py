"""Directions measured by what dropping them costs the loss."""

import pytest
import torch
from method_settings import run, settings_of
from small_network import SELECTION, batches, loss, network
from test_whitening import Words, correlated
from torch import nn

from softjet.config.lowrank import Matrices, Selection
from softjet.errors import InputError
from softjet.lowrank import moments
from softjet.lowrank.budget import choose_ranks
from softjet.lowrank.factors import Factors
from softjet.lowrank.fisher import blank_loss_measures, measure_loss
from softjet.lowrank.measures import LossMeasure, RowMeasure
from softjet.lowrank.methods import PROCEDURES
from softjet.lowrank.phases import begin, open_run
from softjet.lowrank.selection import all_factors, decompose

ROWS = 400


class Pair(nn.Module):
    """Two layers beside each other; the loss minds their outputs as it is told."""

    def __init__(self, wide=24):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([nn.Linear(16, 12, bias=False), nn.Linear(16, wide, bias=False)])


SELECTED = Selection(matrices=(Matrices(path="blocks.*.layer"),), blocks=("blocks",))


def pair(wide=24):
    model = Pair(wide)
    model.blocks = nn.ModuleList(nn.ModuleDict({"layer": layer}) for layer in model.blocks)
    return model


def measure(model, x, gradients, selection=SELECTED):
    """Measure a pair by a loss whose gradients by the outputs are given."""
    decompose(model, selection)
    blank_loss_measures(model)

    def calibrate():
        with torch.enable_grad():
            losses = [
                (block["layer"](x) * g).sum()
                for block, g in zip(model.blocks, gradients, strict=True)
                if g is not None
            ]
            sum(losses).backward()
            model.zero_grad()

    measure_loss(model, calibrate)
    return all_factors(model)


def gradients_of(model, sizes=(1.0, 1.0)):
    return [
        size * correlated(ROWS, block["layer"].out_features, seed=3 + i).float() / 1000
        for i, (block, size) in enumerate(zip(model.blocks, sizes, strict=True))
    ]


def whole(factors):
    """The matrix before the gate."""
    return factors.left @ factors.scaled_right(gated=False)


def ridged_root(moments):
    mean = moments.diagonal().mean()
    return torch.linalg.cholesky(moments + 1e-4 * mean * torch.eye(len(moments)))


def test_sizes_are_those_of_the_kronecker_factors_of_the_fisher_information():
    model, x = pair(), correlated(ROWS, 16).float()
    dense = [block["layer"].weight.detach().clone() for block in model.blocks]
    gradients = gradients_of(model)
    for factors, weight, g in zip(measure(model, x, gradients), dense, gradients, strict=True):
        above, root = ridged_root(g.double().T @ g.double() / ROWS), ridged_root(x.double().T @ x.double())
        want = torch.linalg.svdvals(above.T @ weight.double() @ root)
        sizes = (factors.spectrum() * factors.scale).double()
        torch.testing.assert_close(sizes, want, rtol=1e-3, atol=1e-4 * float(want[0]))
        torch.testing.assert_close(whole(factors), weight, rtol=1e-4, atol=1e-5)
        assert factors.drift() < 1e-3
        factors.fix(5)
        lost = (above.T @ (weight - factors.weight()).double() @ root).norm()
        torch.testing.assert_close(lost, want[5:].norm(), rtol=1e-2, atol=1e-4 * float(want[0]))


def test_dropping_a_direction_costs_the_loss_what_its_size_says():
    """Of a loss that is a log-likelihood the Fisher information is the mean curvature."""
    torch.manual_seed(2)
    model, x = pair(), torch.randn(20_000, 16)
    first, second = (block["layer"] for block in model.blocks)
    with torch.no_grad():
        for layer in (first, second):
            layer.weight.mul_(0.05)
    dense = [layer.weight.detach().clone() for layer in (first, second)]
    answers = [torch.distributions.Categorical(logits=layer(x)).sample() for layer in (first, second)]
    decompose(model, SELECTED)
    blank_loss_measures(model)

    def value():
        terms = [
            nn.functional.cross_entropy(block["layer"](x), answer, reduction="sum")
            for block, answer in zip(model.blocks, answers, strict=True)
        ]
        return sum(terms)

    def calibrate():
        with torch.enable_grad():
            value().backward()
            model.zero_grad()

    measure_loss(model, calibrate)
    for factors, weight, block in zip(all_factors(model), dense, model.blocks, strict=True):
        before = nn.functional.log_softmax(x @ weight.T, dim=-1)
        sizes = (factors.spectrum() * factors.scale).detach()
        factors.fix(4)
        after = nn.functional.log_softmax(block["layer"](x), dim=-1)
        divergence = (before.exp() * (before - after)).sum().detach()
        assert float(divergence) == pytest.approx(float(sizes[4:].square().sum() / 2), rel=0.1)


def test_the_budget_goes_where_the_loss_minds():
    """The same matrix twice, of whose outputs the loss minds one a hundred times more."""
    model, x = pair(wide=12), torch.randn(ROWS, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.blocks[1]["layer"].weight.copy_(model.blocks[0]["layer"].weight)
    g = torch.randn(ROWS, 12, generator=torch.Generator().manual_seed(2))
    first, second = measure(model, x, [g, 0.01 * g])
    torch.testing.assert_close(first.scale, second.scale)
    torch.testing.assert_close(first.spectrum(), 100 * second.spectrum(), rtol=1e-3, atol=1e-4)
    ranks = choose_ranks([first, second], 12 * 16 + 2 * 28, floor=2, margins=PROCEDURES["fisher-svd"].margins)
    assert ranks == [12, 2]


def test_a_scale_is_that_of_all_matrices_times_the_root_of_what_a_direction_takes():
    model, x = pair(), torch.randn(ROWS, 16)
    first, second = measure(model, x, gradients_of(model, (1.0, 50.0)))
    assert float(second.scale / first.scale) == pytest.approx((40 / 28) ** 0.5)
    together = torch.cat([f.spectrum().detach() for f in (first, second)])
    assert float(together.median()) <= 1 + 1e-6
    assert max(float(together.median()), float(together.quantile(0.75)) / 2) == pytest.approx(1, rel=1e-5)


def test_packed_matrices_have_gradients_of_their_own():
    model = nn.Module()
    torch.manual_seed(0)
    model.blocks = nn.ModuleList([nn.ModuleDict({"layer": nn.Linear(16, 36)})])
    dense, x = model.blocks[0]["layer"].weight.detach().clone(), torch.randn(ROWS, 16)
    g = correlated(ROWS, 36).float()
    packed = Selection(
        matrices=(Matrices(path="blocks.*.layer", pieces=("a", "b", "c")),), blocks=("blocks",)
    )
    for i, factors in enumerate(measure(model, x, [g], packed)):
        own = slice(12 * i, 12 * (i + 1))
        above = ridged_root(g[:, own].double().T @ g[:, own].double() / ROWS)
        want = torch.linalg.svdvals(above.T @ dense[own].double() @ ridged_root(x.double().T @ x.double()))
        torch.testing.assert_close(
            (factors.spectrum() * factors.scale).double(), want, rtol=1e-3, atol=1e-4 * float(want[0])
        )


def test_a_matrix_that_no_gradient_reaches_is_in_units_of_its_own():
    model, x = pair(), torch.randn(ROWS, 16)
    dense = model.blocks[1]["layer"].weight.detach().clone()
    _, second = measure(model, x, [gradients_of(model)[0], None])
    sizes = torch.linalg.svdvals(dense)
    torch.testing.assert_close(second.spectrum() * second.scale, sizes, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(second.scale, torch.maximum(sizes.median(), sizes.quantile(0.75) / 2))


def test_without_any_gradient_there_are_numbers_all_the_same():
    model, x = pair(), torch.randn(ROWS, 16)
    dense = model.blocks[0]["layer"].weight.detach().clone()
    for factors in measure(model, x, [0 * g for g in gradients_of(model)]):
        assert factors.spectrum().isfinite().all()
    torch.testing.assert_close(whole(all_factors(model)[0]), dense, rtol=1e-4, atol=1e-4)


def test_gradients_may_be_as_small_as_numbers_get():
    model, x = pair(), torch.randn(ROWS, 16)
    dense = model.blocks[0]["layer"].weight.detach().clone()
    own = measure(model, x, [1e-17 * g for g in gradients_of(model)])
    other = pair()
    for factors, large in zip(own, measure(other, x, gradients_of(other)), strict=True):
        torch.testing.assert_close(factors.spectrum(), large.spectrum(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(whole(all_factors(model)[0]), dense, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(128, 512), (24, 16)])
@pytest.mark.parametrize("size", [1.0, 1e-25])
def test_a_matrix_stays_though_its_outputs_matter_unequally_or_next_to_nothing(shape, size):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(shape, generator=generator)
    mixing = torch.randn(shape[0], shape[0], generator=generator).double()
    heights = torch.logspace(0, 3, shape[0], dtype=torch.float64)
    outputs = mixing @ (heights**2).diag() @ mixing.T
    above = ridged_root(outputs / outputs.diagonal().mean()).float()
    left, sigma, right = LossMeasure(size * above, torch.eye(shape[1])).decompose(weight)
    torch.testing.assert_close(left * sigma @ right, weight, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gradients", [False, True])
def test_moments_of_outputs_take_memory_too(gradients, monkeypatch):
    model = pair(wide=64)
    decompose(model, SELECTED)
    monkeypatch.setattr(moments, "NUMBERS_AT_ONCE", 2 * 16**2 + 12**2)
    passes = []
    assert len(list(moments.measured(model, lambda: passes.append(1), gradients))) == 2
    assert len(passes) == (2 if gradients else 1)


@pytest.mark.parametrize("method", ["fisher-soft-threshold", "fisher-svd", "whitened-svd"])
def test_gradients_are_taken_where_they_are_asked_for_and_go_before_the_next_batch(method, tmp_path):
    seen = []

    def task(model, batch):
        if not model.training:
            left = any(p.grad is not None for p in model.parameters())
            seen.append((torch.is_grad_enabled(), left, torch.is_autocast_enabled("cpu")))
        return loss(model, batch)

    run(method, tmp_path, task=task, precision="bfloat16")
    assert set(seen) == {(method.startswith("fisher"), False, False)}
    assert len(seen) == 3


@pytest.mark.parametrize("bad", ["inputs", "gradients"])
def test_what_is_not_finite_is_refused(bad):
    model, x = pair(), torch.randn(ROWS, 16)
    gradients = gradients_of(model)
    (x if bad == "inputs" else gradients[1])[3, 5] = torch.nan
    with pytest.raises(InputError, match=f"gets {bad} that are not finite"):
        measure(model, x, gradients)


def test_tables_are_measured_by_how_often_their_rows_are_read():
    torch.manual_seed(0)
    model, ids = Words(), torch.tensor([[0] * 50 + [1] * 50 + list(range(3, 20))])
    selection = Selection(
        matrices=(Matrices(path="blocks.*.wide"),), blocks=("blocks",), embeddings=("table",)
    )
    decompose(model, selection, embeddings=True)
    blank_loss_measures(model)

    def calibrate():
        with torch.enable_grad():
            model(ids).square().sum().backward()
            model.zero_grad()

    measure_loss(model, calibrate)
    table, *others = all_factors(model)
    assert isinstance(table.measure, RowMeasure)
    assert others
    assert all(isinstance(f.measure, LossMeasure) for f in others)


def test_a_fresh_decomposition_keeps_measure_and_matrix():
    model, x = pair(), correlated(ROWS, 16).float()
    factors, _ = measure(model, x, gradients_of(model))
    with torch.no_grad():
        factors.right.add_(0.05 * torch.randn(12, 16, generator=torch.Generator().manual_seed(3)))
        weight = whole(factors)
    factors.redecompose()
    assert factors.drift() < 1e-3
    torch.testing.assert_close(whole(factors), weight, rtol=1e-3, atol=1e-4)
    assert isinstance(factors.measure, LossMeasure)


def test_a_measure_stays_precise_in_a_model_of_bfloat16():
    factors = Factors(torch.randn(6, 4))
    factors.remeasure(LossMeasure(torch.eye(6), torch.eye(4)))
    before = factors.spectrum()
    factors.bfloat16()
    assert factors.measure.above.dtype == factors.measure.root.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert factors.spectrum().dtype == torch.float32
        torch.testing.assert_close(factors.measure.left(torch.eye(6)), torch.eye(6), rtol=0, atol=0)
    torch.testing.assert_close(factors.spectrum(), before, rtol=1e-2, atol=0)


@pytest.mark.parametrize("method", ["fisher-svd", "fisher-soft-threshold"])
def test_a_run_begins_with_the_gradients_of_the_dense_model_and_leaves_none(method):
    model = network()
    current = begin(model, SELECTION, settings_of(method))
    asked = []

    def calibrate(gradients):
        asked.append(gradients)
        with torch.enable_grad():
            loss(model.eval(), next(batches(0))).backward()
            model.zero_grad()

    open_run(current, calibrate)
    assert asked == [True]
    assert current.phase == ("recovery" if method == "fisher-svd" else "learning")
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("keep", [0.4, 0.6, 0.8])
def test_thresholds_of_one_meet_the_budget(keep):
    model = network()
    current = begin(model, SELECTION, settings_of("fisher-soft-threshold", keep=keep))

    def calibrate(_):
        with torch.enable_grad():
            for _, batch in zip(range(4), batches(0), strict=False):
                loss(model.eval(), batch).backward()

    open_run(current, calibrate)
    assert all(float(f.alpha.detach()) == 0 for f in all_factors(model))
    spent = {}
    for threshold in (0.9, 1 + 1e-3):
        for factors in all_factors(model):
            factors.alpha.data.fill_(threshold)
            factors.hold_floor(current.settings.rank_floor)
        current.recount()
        spent[threshold] = current.kept()
    assert spent[1 + 1e-3] <= keep < spent[0.9] < keep + 0.1


def test_a_model_of_zeros_begins_all_the_same():
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    open_run(begin(model, SELECTION, settings_of("fisher-soft-threshold")), lambda _: None)
    assert all(f.spectrum().isfinite().all() for f in all_factors(model))


def test_ranks_by_the_loss_are_others_than_by_outputs(tmp_path):
    whitened = run("whitened-soft-threshold", tmp_path / "whitened")[2]
    fisher = run("fisher-soft-threshold", tmp_path / "fisher")[2]
    assert whitened["rank"].tolist() != fisher["rank"].tolist()
