"""One step of a run: losses that are not finite, clipping, and what is trained."""

import itertools
import math
import re

import pytest
import torch
from method_settings import METHODS, run, settings_of
from small_network import SELECTION, batches, loss, network

from softjet.errors import InputError
from softjet.lowrank.methods import PROCEDURES
from softjet.lowrank.phases import begin, fix_ranks
from softjet.lowrank.run import take_up
from softjet.lowrank.selection import all_factors
from softjet.lowrank.steps import take_step


def failing(step, factor):
    """A loss that is multiplied by a factor at one step of training."""
    calls = itertools.count(1)

    def task(model, batch):
        wrong = model.training and next(calls) == step
        return loss(model, batch) * (factor if wrong else 1.0)

    return task


@pytest.mark.parametrize("method", ["soft-threshold", "whitened-svd", "dense"])
@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_state_before(tmp_path, method, factor):
    with pytest.raises(InputError, match=f"step 4: the loss is {factor}") as caught:
        run(method, tmp_path, task=failing(4, factor), save_every=1e-9)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["ranks.pt"]
    state = begin(network(), SELECTION, settings_of(method))
    take_up(state, tmp_path / "ranks.pt")
    assert state.step == 3
    assert all(torch.isfinite(p).all() for p in state.model.parameters())
    run(method, tmp_path)  # goes on where the loss is sound again


def test_a_run_that_fails_before_its_first_saving_leaves_its_start(tmp_path):
    with pytest.raises(InputError, match="step 2: the loss"):
        run("soft-threshold", tmp_path, task=failing(2, math.nan), save_every=1e9)
    assert (tmp_path / "ranks.pt").exists()


def test_a_gradient_that_is_not_finite_moves_nothing():
    current = begin(network(), SELECTION, settings_of("soft-threshold"))
    before = {name: value.clone() for name, value in current.model.state_dict().items()}

    def endless(model, batch):
        return (loss(model, batch) * 0).sqrt()

    with pytest.raises(InputError, match="step 1: the gradient's norm is nan"):
        take_step(current, next(batches(0)), endless)
    assert all(torch.equal(value, before[name]) for name, value in current.model.state_dict().items())
    assert current.step == 0


@pytest.mark.parametrize("method", ["soft-threshold", "dense"])
def test_gradients_of_the_weights_are_clipped(method):
    norms = []
    for size in (1e-3, 1e3):
        current = begin(network(), SELECTION, settings_of(method))
        take_step(current, next(batches(0)), lambda model, batch, size=size: size * loss(model, batch))
        weights = current.optimiser.param_groups[0]["params"]
        norms.append(float(torch.stack([p.grad.norm() for p in weights if p.grad is not None]).norm()))
    assert norms[0] < 0.1
    assert norms[1] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_spectrum_training_moves_singular_values_and_gates_alone(method):
    current = begin(network(), SELECTION, settings_of(method, train="spectrum"))
    if PROCEDURES[method].learning is None:
        fix_ranks(current)
    before = {name: value.detach().clone() for name, value in current.model.named_parameters()}
    for batch in itertools.islice(batches(0), 12):
        row = take_step(current, batch, loss)
    moved = {n for n, value in current.model.named_parameters() if not torch.equal(value, before[n])}
    optimised = {id(p) for group in current.optimiser.param_groups for p in group["params"]}
    held = {name for name, p in current.model.named_parameters() if id(p) in optimised}
    assert all(re.search(r"\.(sigma|gate\.\w+)$", name) for name in held | moved)
    assert sum(name.endswith("sigma") for name in moved) == 8
    assert len(all_factors(current.model)) == 8
    assert math.isnan(row["drift"])
    if method == "dense":
        assert current.counts == current.dense


def test_spectrum_training_reaches_its_budget(tmp_path):
    _, history, ranks = run("soft-threshold", tmp_path, train="spectrum")
    assert history["keep_total"].iloc[-1] <= 0.6
    assert (history["drift"].dropna() < 1e-5).all()
    assert ranks["rank"].nunique() > 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_task_is_computed_in_the_chosen_precision_and_spectra_are_not(precision):
    kinds = []

    def noted(model, batch):
        kinds.append(model.enter(batch[0]).dtype)
        kinds.append(all_factors(model)[0].passed().dtype)
        return loss(model, batch)

    take_step(
        begin(network(), SELECTION, settings_of("soft-threshold", precision=precision)),
        next(batches(0)),
        noted,
    )
    assert kinds == [getattr(torch, precision), torch.float32]


# Trap 9: directions that training moves are no longer orthonormal, and singular values then mean nothing.
def test_a_due_step_logs_the_drift_and_mends_it_and_the_optimiser_forgets_the_old_directions():
    runs = {
        every: begin(network(), SELECTION, settings_of("soft-threshold", redecompose_every=every))
        for every in (3, 9)
    }
    for batch in itertools.islice(batches(0), 3):
        rows = []
        for current in runs.values():
            torch.manual_seed(0)  # the same dropout
            rows.append(take_step(current, batch, loss))
    mended, still = (max(factors.drift() for factors in current.factors) for current in runs.values())
    assert rows[0]["drift"] == still > 1e-4
    assert math.isnan(rows[1]["drift"])
    assert mended < 1e-5
    for every, current in runs.items():
        directions = [p for f in current.factors for p in (f.left, f.sigma, f.right)]
        assert all((p in current.optimiser.state) == (every == 9) for p in directions)
        gates = [p for f in current.factors for p in f.gate.parameters()]
        assert all(p in current.optimiser.state for p in gates)
