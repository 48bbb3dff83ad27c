"""One optimiser step of a run, of either phase."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from softjet.device import autocast, device_of_model
from softjet.errors import InputError
from softjet.lowrank.factors import ranks_of
from softjet.lowrank.methods import PROCEDURES, Learning
from softjet.lowrank.run import Run

WARMUP = 10
"""The weights' learning rate rises over one part in this of a phase."""

LARGEST_NORM = 1.0
"""Norm to which gradients of the weights are clipped."""


def take_step(run: Run, batch: Any, loss: Callable[[Any, Any], Tensor]) -> dict[str, Any]:
    """Take one step; return its row of the history.

    Raises
    ------
    InputError
        The loss or its gradient is not finite; the model is then as it was before the step.
    """
    learning = PROCEDURES[run.settings.method].learning if run.phase == "learning" else None
    _set_rates(run, learning)
    with autocast(run.settings.precision, device_of_model(run.model).type):
        task = loss(run.model, batch)
    penalty = learning.penalty(run) if learning else task.new_zeros(())
    _check(run, "loss", task + penalty)
    run.optimiser.zero_grad()
    (task + penalty).backward()
    _check(run, "gradient's norm", _clip(run))
    run.optimiser.step()
    run.step += 1
    drift = _tidy(run, learning) if learning else math.nan
    return _row(run, task.item(), penalty.item(), drift)


def _check(run: Run, what: str, value: Tensor) -> None:
    if not torch.isfinite(value):
        problem = f"the {what} is {value.item()}; lower the learning rates or look at the data"
        raise InputError("rank learning", f"step {run.step + 1}", problem)


def _clip(run: Run) -> Tensor:
    """Clip the gradient of the weights, and return the norm that all gradients had together."""
    weights, *gates = (group["params"] for group in run.optimiser.param_groups)
    norms = [clip_grad_norm_(weights, LARGEST_NORM), *(clip_grad_norm_(group, math.inf) for group in gates)]
    return torch.stack(norms).norm()


def _set_rates(run: Run, learning: Learning | None) -> None:
    """Rates of this step: the weights' rises over the first tenth of a phase, then falls linearly to zero.

    A fresh AdamW takes steps of full size before it knows any gradient's scale, which undoes a trained
    model in a few steps. The gates' rate stays, since what ends their phase is the budget.
    """
    settings = run.settings
    weights, *gates = run.optimiser.param_groups
    rise = WARMUP * (run.step - run.began + 1) / run.limit
    weights["lr"] = (settings.learning_rate if learning else settings.recover_rate) * min(
        rise, run.left / run.limit
    )
    if learning is not None:
        for group in gates:
            group["lr"] = learning.rate(settings)


def _tidy(run: Run, learning: Learning) -> float:
    """Hold the rank floor and raise the pressure; now and then decompose afresh and return the drift."""
    due = (run.step - run.began) % run.settings.redecompose_every == 0
    drift = max(factors.drift() for factors in run.factors) if due else math.nan
    if due:
        run.decompose_afresh()
    for factors in run.factors:
        factors.hold_floor(run.settings.rank_floor)
    learning.raise_weight(run)
    run.recount()
    return drift


def _row(run: Run, task: float, penalty: float, drift: float) -> dict[str, Any]:
    return {
        "step": run.step,
        "phase": run.phase,
        "loss": task + penalty,
        "task": task,
        "penalty": penalty,
        "weight": run.weight if run.phase == "learning" else 0.0,
        "parameters": run.counts.total,
        **{f"keep_{what}": share for what, share in run.counts.over(run.dense)._asdict().items()},
        "rank": sum(ranks_of(run.factors)),
        "drift": drift,
    }
