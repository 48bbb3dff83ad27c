"""Training of a language model on its task: seeded, resumable to the bit, with a history."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from torch import nn

from softjet.config.language import Tuning
from softjet.device import autocast, device_of_model
from softjet.errors import InputError
from softjet.language.batch import Batch
from softjet.language.losses import task_loss
from softjet.language.optimiser import learning_rate, optimiser_of
from softjet.progress import Progress
from softjet.state import load_state, random_states, save_state, set_random_states, taking_up

COLUMNS = ("step", "loss", "lr")


class Training(Protocol):
    """A loader of :mod:`softjet.language.batches`."""

    def training(self, step: int = ...) -> Iterator[Batch]:
        """Endless batches from a step on, a function of the step alone."""


def tune(
    model: nn.Module, loader: Training, settings: Tuning, state_dir: str | Path, name: str = "model"
) -> pd.DataFrame:
    """Train a classifier or a language model in place, and leave it in evaluation mode.

    A killed training called again with the same model goes on from its last saved state and ends with the
    same weights, bit for bit on the same machine and number of threads.

    Parameters
    ----------
    model : nn.Module
        As transformers', with the weights to start from.
    loader : Training
        Gives the batches.
    settings : Tuning
        Steps, rates and the seed of dropout.
    state_dir : str or path
        Folder of the saved state, of this training alone.
    name : str
        Name of the model, for the progress line.

    Returns
    -------
    DataFrame
        A row a step: step (the first is 1), loss, lr.

    Raises
    ------
    InputError
        A loss or gradient that is not finite: the last saved state stays. A saved state that cannot be read
        or is of other settings.
    """
    job = _Job(model, settings)
    state = Path(state_dir) / "tuning.pt"
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        if state.exists():
            job.take_up(state)
        model.train()
        _run(job, loader, state, name)
    model.eval()
    return pd.DataFrame(job.history, columns=list(COLUMNS)).astype({"step": "int64"})


class _Job:
    """A model under training. What changes in it is all that a saved state holds, with the random numbers."""

    def __init__(self, model: nn.Module, settings: Tuning) -> None:
        self.model, self.settings = model, settings
        self.optimiser = optimiser_of(model, settings)
        self.history: list[tuple[int, float, float]] = []

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.history)

    def save(self, path: Path) -> None:
        content = {
            "settings": self._identity(),
            "history": self.history,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": random_states(),
        }
        save_state(path, content)

    def take_up(self, path: Path) -> None:
        content = load_state(path)
        with taking_up(path):
            if content["settings"] != self._identity():
                problem = "belong to another training; give another folder or remove this file"
                raise InputError(path, "settings", problem)
            self.history = list(content["history"])
            self.model.load_state_dict(content["model"])
            self.optimiser.load_state_dict(content["optimiser"])
            set_random_states(content["random"])

    def _identity(self) -> str:
        return self.settings.model_dump_json(exclude={"save_every"})


def _run(job: _Job, loader: Training, state: Path, name: str) -> None:
    batches, saved = loader.training(job.step), time.monotonic()
    steps = job.settings.steps
    with Progress(steps, f"train {name}", "steps", job.step) as progress:
        while job.step < steps:
            loss, rate = _take_step(job, next(batches))
            job.history.append((job.step + 1, loss, rate))
            if job.step == steps or time.monotonic() - saved > job.settings.save_every:
                job.save(state)
                saved = time.monotonic()
            progress.advance(note=f"loss {loss:.4f}")


def _take_step(job: _Job, batch: Batch) -> tuple[float, float]:
    """One step of the optimiser; gives the loss before it and the learning rate."""
    rate = learning_rate(job.step, job.settings)
    for group in job.optimiser.param_groups:
        group["lr"] = rate
    job.optimiser.zero_grad()
    with autocast(job.settings.precision, device_of_model(job.model).type):
        loss = task_loss(job.model, batch)
    loss.backward()
    clip = math.inf if job.settings.clip is None else job.settings.clip
    norm = nn.utils.clip_grad_norm_(job.model.parameters(), clip)
    _check(job, "loss", loss.item())
    _check(job, "gradient", norm.item())
    job.optimiser.step()
    return loss.item(), rate


def _check(job: _Job, what: str, value: float) -> None:
    if not math.isfinite(value):
        problem = f"the {what} is {value}; lower learning_rate or clip"
        raise InputError("tuning", f"step {job.step + 1}", problem)
