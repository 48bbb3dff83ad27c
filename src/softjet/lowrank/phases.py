"""Phases of a run: how it begins, when one is over, and how ranks are fixed between them."""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from softjet.config.lowrank import RankLearning, Selection
from softjet.errors import InputError
from softjet.lowrank.budget import choose_ranks, parameter_counts
from softjet.lowrank.distillation import digest_of, has_teacher
from softjet.lowrank.factors import Start
from softjet.lowrank.fisher import blank_loss_measures, measure_loss
from softjet.lowrank.methods import PROCEDURES
from softjet.lowrank.price import PARAMETERS, Price
from softjet.lowrank.ranks import THRESHOLDS, table_rows
from softjet.lowrank.run import Run
from softjet.lowrank.selection import all_factors, decompose, set_form
from softjet.lowrank.whitening import blank_measures, measure_inputs, whiten


def begin(
    model: nn.Module,
    selection: Selection,
    settings: RankLearning,
    price: Price | None = None,
    blank: bool = False,
) -> Run:
    """Decompose a model, as its method does, and start a run before its first step.

    Parameters
    ----------
    model, selection, settings, price
        As of :func:`softjet.lowrank.learn_ranks`.
    blank : bool
        For a run that is taken up from its saved state: nothing is decomposed.

    Raises
    ------
    InputError
        A selection that does not fit the model, a budget below the rank floors, or one of time without times.
    """
    if settings.of == "time" and price is None:
        raise InputError("rank learning", "of", "time needs the times of the model's shapes; measure them")
    procedure = PROCEDURES[settings.method]
    teacher = digest_of(model) if has_teacher(settings) else ""
    dense = parameter_counts(model, selection, settings.embeddings)
    if procedure.margins is not None or settings.train == "spectrum":
        # The inputs decide about the directions, once they are seen.
        start: Start = "blank" if blank else "decomposed" if procedure.sees == "weights" else "whole"
        decompose(model, selection, procedure.gate(settings), settings.train, settings.embeddings, start)
        set_form(model, settings.form)
    if procedure.sees == "loss":
        blank_loss_measures(model)
    elif procedure.learning is not None and procedure.sees == "inputs":
        blank_measures(model)
    if settings.train == "spectrum":
        _freeze_but_spectra(model)
    weight = procedure.learning.weight(settings) if procedure.learning else 0.0
    run = Run(model, selection, settings, dense, weight, price or PARAMETERS, teacher)
    if not blank and procedure.margins is not None:
        _check_floor(run)  # an impossible budget fails before the first step
    return run


def _check_floor(run: Run) -> None:
    if run.allowed() < run.least():
        needed = f"the rank floors need {run.least_keep()} of {run.settings.of}"
        problem = f"is too little, since {needed}; raise keep or lower rank_floor"
        raise InputError("rank learning", f"keep {run.settings.keep}", problem)


def _freeze_but_spectra(model: nn.Module) -> None:
    """Train singular values and gates alone.

    A rate that moves singular values, of order one, would undo a model at once by the scales of its norms:
    the first ones of TinyLlama have a median of 0.006.
    """
    spectra = {id(p) for factors in all_factors(model) for p in factors.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad and id(parameter) in spectra)


def open_run(run: Run, calibrate: Callable[[bool], None]) -> None:
    """Measure directions as the method does; fix the ranks at once, where it does not learn them.

    Parameters
    ----------
    run : Run
        Before its first step.
    calibrate : callable
        Runs the model over the batches that its directions are measured by; where it is told so, it takes the
        gradients of the loss.
    """
    procedure = PROCEDURES[run.settings.method]
    if procedure.sees == "loss":
        measure_loss(run.model, partial(calibrate, True))
        if procedure.learning is not None:
            _scale_to_budget(run)
    elif procedure.sees == "inputs" and procedure.learning is not None:
        measure_inputs(run.model, partial(calibrate, False))
    elif procedure.sees == "inputs":
        whiten(run.model, choose(run), partial(calibrate, False))
    if procedure.learning is None:
        fix_ranks(run)


HALVINGS = 40
"""Of the factor within which the threshold that meets the budget is sought."""


@torch.no_grad()
def _scale_to_budget(run: Run) -> None:
    """Choose the common unit of sizes so that thresholds of one would meet the budget.

    What directions cost the loss differs by orders of magnitude: in units of the median, thresholds would
    have a long way to go to one budget and a hair's breadth to another, at the same rate.
    """
    sizes = torch.cat([factors.spectrum() for factors in run.factors])
    if not (sizes > 0).any():
        return
    low, high = math.log(float(sizes[sizes > 0].min())), math.log(float(sizes.max()))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        _set_thresholds(run, math.exp(middle))
        low, high = (low, middle) if run.spent() <= run.allowed() else (middle, high)
    for factors in run.factors:
        factors.rescale(math.exp(high) * factors.scale)
    _set_thresholds(run, 0.0)


def _set_thresholds(run: Run, value: float) -> None:
    for factors in run.factors:
        factors.alpha.fill_(value)
        factors.hold_floor(run.settings.rank_floor)
    run.recount()


def turn(run: Run) -> None:
    """Go over to the next phase where this one is over.

    Raises
    ------
    InputError
        Learning is over and has not met the budget.
    """
    if run.phase == "learning":
        if run.spent() <= run.allowed():
            fix_ranks(run)
        elif run.left == 0:
            _complain(run)
    if run.phase == "recovery" and run.left == 0:
        run.enter("done")


def fix_ranks(run: Run) -> None:
    """Choose the ranks, write them down, and go over to recovery."""
    if run.phase == "learning" and run.step:
        run.decompose_afresh()
    ranks = choose(run)
    run.ranks = _rows(run, run.model, ranks) if run.factors else _dense_rows(run)
    for factors, rank in zip(run.factors, ranks, strict=True):
        factors.fix(rank)
    run.enter("recovery")


def choose(run: Run) -> list[int]:
    """Rank of every matrix by the margins of the method, as near below the budget as ranks allow."""
    margins = PROCEDURES[run.settings.method].margins
    if margins is None:
        return [min(factors.shape) for factors in run.factors]
    multiple, floor = run.settings.rank_multiple, run.settings.rank_floor
    return choose_ranks(run.factors, run.allowed(), multiple, floor, margins, run.price)


def _rows(run: Run, model: nn.Module, ranks: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of the table of ranks; a method that learns nothing has no thresholds."""
    rows = table_rows(model, run.selection, ranks, run.settings.embeddings)
    if PROCEDURES[run.settings.method].learning is not None:
        return rows
    return [row | dict.fromkeys(THRESHOLDS, math.nan) for row in rows]


def _dense_rows(run: Run) -> list[dict[str, Any]]:
    """Rows of a model that stays dense, from a decomposition of a copy."""
    copied = copy.deepcopy(run.model)
    decompose(copied, run.selection, embeddings=run.settings.embeddings)
    return _rows(run, copied, [min(factors.shape) for factors in all_factors(copied)])


def _complain(run: Run) -> None:
    reached = f"{run.kept():.3f} of {run.settings.of} is kept after {run.settings.learn_steps} steps"
    problem = f"not reached: {reached}; raise learn_steps, or the rate of the thresholds or mask, or pressure"
    raise InputError("rank learning", f"keep {run.settings.keep}", problem)
