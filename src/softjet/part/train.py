"""Training of a Particle Transformer: seeded, resumable to the bit, with a history."""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from softjet.config.part import ParTRun
from softjet.device import autocast, determinism, device_of, device_of_model
from softjet.errors import InputError
from softjet.part.checkpoint import load_part, save_checkpoints, save_part
from softjet.part.finetune import start_from
from softjet.part.model import ParticleTransformer
from softjet.part.native_training import compile_for
from softjet.part.optimiser import optimiser_of, set_rate
from softjet.part.prediction import JetBatch, predict_loader
from softjet.part.schedule import learning_rate, total_steps
from softjet.part.team import RunningAverages, Team, local_rank
from softjet.progress import Progress
from softjet.provenance.files import write_tables
from softjet.state import Resumable

HISTORY = "history.parquet"
COLUMNS = ("step", "loss", "lr", "jets_per_second", "validation_loss", "validation_accuracy")


class TrainingBatch(JetBatch, Protocol):
    """A batch that can be cut into pieces."""

    def piece(self, share: tuple[int, int]) -> Self:
        """One of so many pieces of near-equal size."""


class Loader(Protocol):
    """Jets for training and evaluation (softjet.jets.batches.JetLoader)."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one pass."""

    def training(self, start_step: int = ..., share: tuple[int, int] = ...) -> Iterator[TrainingBatch]:
        """Endless batches from a step on, a function of seed and step alone, or this share of each."""

    def evaluation(self, share: tuple[int, int] = ...) -> Iterator[JetBatch]:
        """Batches that hold every jet once, or this share of them."""


def train_part(
    run: ParTRun,
    training: Loader,
    validation: Loader,
    folder: str | Path,
    state: str | Path,
    start: str | Path | None = None,
) -> pd.DataFrame:
    """Train a Particle Transformer and write it with its history into `folder`.

    The last weights are kept, so that no choice is made by looking at the validation jets. A killed training
    goes on from its last saved state and ends with the same weights, bit for bit on the same machine and
    number of threads. In a process group of torch.distributed every process calls this with its own loaders;
    the first one writes.

    Parameters
    ----------
    run : ParTRun
        Shape and training.
    training, validation : Loader
        Jets to learn from; jets to measure loss and accuracy on.
    folder : path
        Gets model.safetensors, config.json, history.parquet, and checkpoints.safetensors with the weights
        kept on the way.
    state : path
        Folder of the saved state, of this training alone: the caller names it by all that decides the result.
    start : path, optional
        Folder of a trained model whose weights are the first.

    Returns
    -------
    DataFrame
        A row a step: step, loss, lr, jets_per_second, validation_loss, validation_accuracy (NaN where not
        measured).

    Raises
    ------
    InputError
        The loss is not finite, the saved state cannot be read, there is no such device, or the model to start
        from has another shape.
    """
    saved = Path(state) / "state.pt"
    with determinism(run.training.deterministic):
        job = _Job(run, total_steps(run.training, training.steps_per_epoch), start)
        if saved.exists():
            job.load(saved)
        _run(job, training, validation, saved)
    history = pd.DataFrame(job.history, columns=list(COLUMNS)).astype({"step": "int64"})
    if job.team.rank == 0:
        save_checkpoints(folder, {step: load_part(saved.parent / f"{step}") for step in job.kept})
        save_part(folder, job.model.cpu())
        write_tables({Path(folder) / HISTORY: history})
        saved.unlink(missing_ok=True)
    return history


class _Job(Resumable):
    """A model under training."""

    model: ParticleTransformer

    def __init__(self, run: ParTRun, steps: int, start: str | Path | None) -> None:
        self.config, self.steps = run.training, steps
        self.team = Team.here()
        torch.manual_seed(run.training.seed)
        self.model = ParticleTransformer(run.model)
        if start is not None:
            start_from(self.model, start)
        self.model.to(device_of(run.training.device, local_rank()))
        compile_for(self.model, run.training)
        self.optimiser = optimiser_of(self.model, run.training)
        self.network = self.team.network(self.model, run.training)
        self.averages = RunningAverages(self.model, run.training.microbatches, self.team)
        self.kept = {max(1, round(share * steps)) for share in run.training.checkpoints}
        self.rows = np.full((steps, len(COLUMNS)), np.nan)


def _run(job: _Job, training: Loader, validation: Loader, saved: Path) -> None:
    batches = training.training(job.step, job.team.share)
    last_save = time.monotonic()
    with _progress(job) as progress:
        while job.step < job.steps:
            row = _train_step(job, next(batches))
            job.rows[job.step] = (*row, math.nan, math.nan)
            job.step += 1
            if job.step % job.config.validate_every == 0 or job.step == job.steps:
                job.rows[job.step - 1, -2:] = _validate(job, validation)
            if job.step in job.kept and job.team.rank == 0:
                # Beside the state: what an unfinished job has put out is taken away.
                save_part(saved.parent / f"{job.step}", job.model)
            due = time.monotonic() - last_save >= job.config.save_every or job.step == job.steps
            if due and job.team.rank == 0:
                job.save(saved)
                last_save = time.monotonic()
            if progress is not None:
                progress.advance(note=f"loss {row[1]:.3f}, {row[3]:.0f} jets/s")


def _progress(job: _Job) -> AbstractContextManager[Progress | None]:
    if job.team.rank > 0:
        return nullcontext()
    return Progress(job.steps, "train", "steps", done=job.step)


def _train_step(job: _Job, batch: TrainingBatch) -> tuple[float, float, float, float]:
    start = time.perf_counter()
    rate = learning_rate(job.step, job.steps, job.config)
    set_rate(job.optimiser, rate)
    job.optimiser.zero_grad(set_to_none=True)
    jets = int(job.team.add(torch.tensor(len(batch.labels), device=device_of_model(job.model))))
    loss = _gradients(job, batch, jets)
    if job.config.clip is not None:
        nn.utils.clip_grad_norm_(job.model.parameters(), job.config.clip)
    job.optimiser.step()
    return job.step + 1, loss, rate, jets / (time.perf_counter() - start)


def _gradients(job: _Job, batch: TrainingBatch, jets: int) -> float:
    """Leave the gradients of the mean loss over the step's jets in the model, and give that loss."""
    pieces, total = job.config.microbatches, torch.zeros((), device=device_of_model(job.model))
    job.averages.begin()
    for place in range(pieces):
        piece = batch.piece((place, pieces)) if pieces > 1 else batch
        torch.manual_seed(_piece_seed(job, place))
        with _gathering(job.network, last=place == pieces - 1):
            loss = class_loss(job.network, piece, job.config.precision) * (len(piece.labels) / jets)
            # Gradients are averaged over the processes, and are wanted summed.
            (loss * job.team.size).backward()
        total += loss.detach()
        job.averages.end_piece()
    job.averages.end()
    mean = job.team.add(total).item()
    if not math.isfinite(mean):
        where = f"step {job.step + 1}"
        raise InputError("training", where, f"the loss is {mean}: lower learning_rate or clip")
    return mean


def _piece_seed(job: _Job, place: int) -> int:
    """Seed of a piece's dropout: it does not matter which process computes the piece."""
    piece = job.team.rank + job.team.size * place
    return int(np.random.SeedSequence([job.config.seed, job.step, piece]).generate_state(1, np.uint64)[0])


def _gathering(network: nn.Module, last: bool) -> AbstractContextManager:
    """Context that leaves gradients in their process before the last piece of a step."""
    if isinstance(network, DistributedDataParallel) and not last:
        return network.no_sync()
    return nullcontext()


def class_logits(model: nn.Module, batch: JetBatch, precision: str | None = None) -> Tensor:
    """Logits of a batch, shape (B, C), in float32; without a precision in the caller's."""
    device = device_of_model(model)
    with autocast(precision, device.type) if precision else nullcontext():
        logits = model(*(tensor.to(device) for tensor in (batch.features, batch.vectors, batch.mask)))
    return logits.float()


def class_loss(model: nn.Module, batch: JetBatch, precision: str | None = None) -> Tensor:
    """Cross-entropy of a batch's classes, a scalar in float32; without a precision in the caller's."""
    logits = class_logits(model, batch, precision)
    return functional.cross_entropy(logits, batch.labels.to(logits.device))


def _validate(job: _Job, validation: Loader) -> tuple[float, float]:
    logits, labels, _ = predict_loader(job.model, validation, job.config.precision, job.team.share)
    loss = functional.cross_entropy(logits.double(), labels, reduction="sum")
    right = (logits.argmax(1) == labels).sum()
    sums = torch.stack((loss, right.double(), torch.tensor(float(len(labels)), dtype=torch.float64)))
    total_loss, total_right, jets = job.team.add(sums.to(device_of_model(job.model))).tolist()
    return total_loss / jets, total_right / jets
