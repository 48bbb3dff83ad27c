"""Learn the rank of every selected matrix, down to a budget, and train what is left.

Three states. *Learning*: weights and gates are trained on the task loss and a compression term, until the
parameters that the gates leave fit the budget. *Recovery*: ranks are fixed, gates frozen, kept directions at
full magnitude and the others gone, a fresh optimiser, the task loss alone. *Done*. Methods that do not learn
ranks fix them before the first step; every method takes as many steps, of the same batches. Losses compare
within one phase only, so no "best" state over both is ever kept: the result is the end of recovery.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd
import torch
from torch import Tensor, nn

from softjet.config.lowrank import RankLearning, Selection
from softjet.lowrank.distillation import with_teacher
from softjet.lowrank.phases import begin, open_run, turn
from softjet.lowrank.price import Price
from softjet.lowrank.ranks import ranks_table
from softjet.lowrank.run import Run, save_run, take_up
from softjet.lowrank.selection import block_paths
from softjet.lowrank.steps import take_step
from softjet.progress import Progress

Batch = TypeVar("Batch")

DOING = {"learning": "learn ranks of", "recovery": "recover"}
"""What a phase does to a model, for the progress line."""


class Learned(NamedTuple):
    """Tables of one run: a row a step, and a row a matrix.

    Attributes
    ----------
    history : DataFrame
        step, phase, loss, task (the loss without penalty, what the dense model teaches included), penalty,
        weight (of the penalty), parameters, keep_linears, keep_blocks, keep_total, rank (sum over the
        matrices), drift (largest cosine between directions that should be orthogonal, at the steps that
        decompose afresh, else NaN).
    ranks : DataFrame
        See :func:`softjet.lowrank.ranks.table_rows`.
    """

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
    answer: Callable[[Any, Batch], Tensor] | None = None,
    price: Price | None = None,
) -> Learned:
    """Learn the ranks of a dense model in place, down to a share of its parameters or of its time.

    Parameters
    ----------
    model : nn.Module
        The trained dense model; afterwards its selected layers have fixed ranks, ready for
        :func:`softjet.lowrank.fuse`. With the method "dense" it is only trained.
    selection : Selection
        Its layers to compress, and its blocks. Matrices of these layers are trained even where they were
        frozen (`requires_grad` False); everything else stays frozen.
    batches : callable
        From a step number to the endless stream of batches from that step on; a function of the number alone.
    loss : callable
        From the model and a batch to the task loss, a scalar.
    settings : RankLearning
        Method, budget, steps and rates.
    state_dir : str or path
        Folder of the saved state, of this run alone. A killed run called again, with the same dense model,
        goes on from there and ends with the same bits.
    name : str
        Name of the model, for the progress line.
    answer : callable, optional
        From the model and a batch to logits, shape (rows, classes); needed for distillation.
    price : Price, optional
        Times of the model's matrices (:class:`softjet.lowrank.price.Times`); needed for a budget of time.

    Returns
    -------
    Learned

    Raises
    ------
    InputError
        A selection that does not fit; a loss, gradient or measured input that is not finite (the last saved
        state stays); a budget that is below the rank floors, not reached within `learn_steps`, or of time
        without `price`; a teacher as in `with_teacher`, or another's state.
    """
    trained = with_teacher(model, loss, answer, settings, block_paths(model, selection))
    state = Path(state_dir) / "ranks.pt"
    run = begin(model, selection, settings, price, blank=state.exists())
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        if state.exists():
            take_up(run, state)
        else:
            open_run(run, partial(_look, model, partial(batches, 0), loss, settings.calibration))
            save_run(run, state)
        _run(run, batches(run.step), trained, state, name)
    return Learned(pd.DataFrame(run.history), ranks_table(run.ranks))


def _look(
    model: nn.Module, batches: Callable[[], Iterator], loss: Callable, count: int, gradients: bool
) -> None:
    """Run the model over the first batches in evaluation mode, forward or there and back.

    In float32, whatever it trains in: gradients of bfloat16 are inexact enough to give other ranks.
    """
    model.eval()
    with torch.set_grad_enabled(gradients):
        for batch in islice(batches(), count):
            value = loss(model, batch)
            if gradients:
                value.backward()
                model.zero_grad()


def train_but_statistics(model: nn.Module) -> None:
    """Put the model in training mode, except running statistics (BatchNorm), which stay as they are.

    Those of the dense model were gathered over its whole training. A few hundred batches, perhaps sorted by
    length, would leave those of the last ones.
    """
    model.train()
    for module in model.modules():
        if getattr(module, "track_running_stats", False):
            module.eval()


def _run(run: Run, stream: Iterator, loss: Callable, state: Path, name: str) -> None:
    train_but_statistics(run.model)
    while run.phase != "done":
        with Progress(run.limit, f"{DOING[run.phase]} {name}", "steps", run.step - run.began) as progress:
            _run_phase(run, stream, loss, state, progress)


def _run_phase(run: Run, stream: Iterator, loss: Callable, state: Path, progress: Progress) -> None:
    phase, saved = run.phase, time.monotonic()
    while run.phase == phase:
        row = take_step(run, next(stream), loss)
        run.history.append(row)
        turn(run)
        progress.advance(note=f"task loss {row['task']:.4f}, keeps {row['keep_total']:.3f}")
        if run.phase != phase or time.monotonic() - saved > run.settings.save_every:
            save_run(run, state)
            saved = time.monotonic()
