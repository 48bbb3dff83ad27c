"""Learn the rank of every selected matrix: thresholds rise until the budget is met, then weights recover.

Two phases. *Learning*: weights and thresholds are trained on task loss + w_c sum exp(-alpha), until the
parameters that the thresholds leave fit the budget. *Recovery*: ranks are fixed, thresholds frozen, kept
directions back at full magnitude, a fresh optimiser, the task loss alone. Losses compare within one phase
only, so no "best" state over both is ever kept: the result is the end of recovery.
"""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd
import torch
from torch import Tensor, nn

from softjet.config.lowrank import RankLearning, Selection
from softjet.errors import InputError
from softjet.lowrank.budget import choose_ranks, parameter_counts
from softjet.lowrank.ranks import ranks_table, table_rows
from softjet.lowrank.run import Run, save_run, take_up
from softjet.lowrank.selection import decompose
from softjet.progress import Progress

Batch = TypeVar("Batch")

WARMUP = 10
"""The weights' learning rate rises over one part in this of a phase."""


class Learned(NamedTuple):
    """Tables of one run: a row a step, and a row a matrix."""

    history: pd.DataFrame
    ranks: pd.DataFrame


def learn_ranks(
    model: nn.Module,
    selection: Selection,
    batches: Callable[[int], Iterator[Batch]],
    loss: Callable[[Any, Batch], Tensor],
    settings: RankLearning,
    state_dir: str | Path,
    name: str = "model",
) -> Learned:
    """Learn the ranks of a dense model in place, down to a share of its parameters.

    Parameters
    ----------
    model : nn.Module
        The trained dense model; afterwards its selected layers are SoftThresholdLinear with fixed ranks,
        ready for :func:`softjet.lowrank.fuse`.
    selection : Selection
        Its layers to compress, and its blocks.
    batches : callable
        From a step number to the endless stream of batches from that step on; a function of the number alone.
    loss : callable
        From the model and a batch to the task loss (or a distillation loss), a scalar.
    settings : RankLearning
        Budget, steps and rates.
    state_dir : str or path
        Folder of the saved state, of this run alone. A killed run called again goes on from there and ends
        with the same bits.
    name : str
        Name of the model, for the progress line.

    Returns
    -------
    Learned
        history: step, phase, loss, task, penalty, weight (of the penalty), parameters, keep_linears,
        keep_blocks, keep_total, rank (sum over the matrices), drift (largest cosine between directions that
        should be orthogonal, at the steps that decompose afresh, else NaN). ranks: see
        :func:`softjet.lowrank.ranks.table_rows`.

    Raises
    ------
    InputError
        A selection that does not fit the model, a loss that is not finite, a budget below the rank floors,
        or a budget not reached within `learn_steps`.
    """
    dense = parameter_counts(model, selection)
    decompose(model, selection, settings.sharpness)
    run = Run(model, selection, settings, dense)
    _choose(run)  # an impossible budget fails before the first step
    state = Path(state_dir) / "ranks.pt"
    train_but_statistics(model)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        if state.exists():
            take_up(run, state)
        _run(run, batches, loss, state, name)
    return Learned(pd.DataFrame(run.history), ranks_table(run.ranks))


def train_but_statistics(model: nn.Module) -> None:
    """Put the model in training mode, except running statistics (BatchNorm), which stay as they are.

    Those of the dense model were gathered over its whole training. A few hundred batches, perhaps sorted by
    length, would leave those of the last ones.
    """
    model.train()
    for module in model.modules():
        if getattr(module, "track_running_stats", False):
            module.eval()


def _run(run: Run, batches: Callable, loss: Callable, state: Path, name: str) -> None:
    stream = batches(run.step)
    for phase, what in (("learning", "learn ranks of"), ("recovery", "recover")):
        if run.phase == phase:
            with Progress(run.limit, f"{what} {name}", "steps", run.step - run.began) as progress:
                _run_phase(run, stream, loss, state, progress)


def _run_phase(run: Run, stream: Iterator, loss: Callable, state: Path, progress: Progress) -> None:
    phase, saved = run.phase, time.monotonic()
    while run.phase == phase:
        row = _take_step(run, next(stream), loss)
        run.history.append(row)
        _turn(run)
        progress.advance(note=f"loss {row['loss']:.4f}, keeps {row['keep_total']:.3f}")
        if run.phase == "done" or time.monotonic() - saved > run.settings.save_every:
            save_run(run, state)
            saved = time.monotonic()


def _take_step(run: Run, batch: Any, loss: Callable) -> dict[str, Any]:
    """One optimiser step of either phase; returns its row of the history."""
    _set_rates(run)
    task = loss(run.model, batch)
    penalty = compression_penalty(run) if run.phase == "learning" else task.new_zeros(())
    whole = task + penalty
    if not torch.isfinite(whole):
        raise InputError(
            "rank learning", f"step {run.step}", f"the loss is {whole.item()}; lower the learning rates"
        )
    run.optimiser.zero_grad()
    whole.backward()
    run.optimiser.step()
    run.step += 1
    drift = _tidy(run) if run.phase == "learning" else math.nan
    return _row(run, task.item(), penalty.item(), drift)


def compression_penalty(run: Run) -> Tensor:
    """w_c times the sum over matrices of exp(-alpha), which falls as thresholds rise."""
    factors = run.factors
    height = torch.exp(-torch.stack([f.alpha for f in factors]))
    if run.settings.count_weighted:
        sizes = height.new_tensor([math.prod(f.shape) for f in factors])
        height = height * sizes / sizes.mean()
    return run.weight * height.sum()


def _press(run: Run) -> None:
    """Raise the weight of the compression term, step by step, once half of the phase is over.

    With a fixed weight the task may hold the thresholds in balance for ever at any size of the model.
    """
    if run.step - run.began >= run.limit / 2:
        run.weight *= run.settings.pressure ** (2 / run.limit)


def _set_rates(run: Run) -> None:
    """Rates of this step: the weights' rises over the first tenth of a phase, then falls linearly to zero.

    A fresh AdamW takes steps of full size before it knows any gradient's scale, which undoes a trained
    model in a few steps. The thresholds' rate stays, since what ends their phase is the budget.
    """
    settings = run.settings
    first = settings.learning_rate if run.phase == "learning" else settings.recover_rate
    weights, *thresholds = run.optimiser.param_groups
    rise = WARMUP * (run.step - run.began + 1) / run.limit
    weights["lr"] = first * min(rise, run.left / run.limit)
    for group in thresholds:
        group["lr"] = settings.threshold_rate


def _tidy(run: Run) -> float:
    """Hold the rank floor and raise the pressure; now and then decompose afresh and return the drift."""
    drift = _redecompose(run) if (run.step - run.began) % run.settings.redecompose_every == 0 else math.nan
    for factors in run.factors:
        factors.hold_floor(run.settings.rank_floor)
    _press(run)
    return drift


def _redecompose(run: Run) -> float:
    drift = max(factors.drift() for factors in run.factors)
    for factors in run.factors:
        factors.redecompose()
        for parameter in (factors.left, factors.sigma, factors.right):
            run.optimiser.state.pop(parameter, None)  # moments along the old directions
    return drift


def _turn(run: Run) -> None:
    """Go over to the next phase where this one is over."""
    if run.phase == "learning":
        if run.counts().linears <= run.allowed():
            _redecompose(run)
            _fix_ranks(run)
            run.enter("recovery")
        elif run.left == 0:
            _complain(run)
    if run.phase == "recovery" and run.left == 0:
        run.enter("done")


def _choose(run: Run) -> list[int]:
    return choose_ranks(run.factors, run.allowed(), run.settings.rank_multiple, run.settings.rank_floor)


def _fix_ranks(run: Run) -> None:
    ranks = _choose(run)
    run.ranks = table_rows(run.model, run.selection, ranks)
    for factors, rank in zip(run.factors, ranks, strict=True):
        factors.fix(rank)


def _complain(run: Run) -> None:
    share = getattr(run.counts().over(run.dense), run.settings.of)
    reached = f"{share:.3f} of {run.settings.of} is kept after {run.settings.learn_steps} steps"
    problem = f"not reached: {reached}; raise learn_steps, threshold_rate or pressure"
    raise InputError("rank learning", f"keep {run.settings.keep}", problem)


def _row(run: Run, task: float, penalty: float, drift: float) -> dict[str, Any]:
    counts = run.counts()
    shares = counts.over(run.dense)._asdict()
    return {
        "step": run.step,
        "phase": run.phase,
        "loss": task + penalty,
        "task": task,
        "penalty": penalty,
        "weight": run.weight if run.phase == "learning" else 0.0,
        "parameters": counts.total,
        **{f"keep_{what}": share for what, share in shares.items()},
        "rank": sum(factors.rank() for factors in run.factors),
        "drift": drift,
    }
