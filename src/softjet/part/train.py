"""Training of a Particle Transformer: seeded, resumable to the bit, with a history."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from softjet.config.part import ParTRun, Training
from softjet.errors import InputError
from softjet.part.checkpoint import save_part
from softjet.part.model import ParticleTransformer
from softjet.part.precision import autocast
from softjet.part.prediction import JetBatch, predict_loader
from softjet.progress import Progress
from softjet.provenance.files import whole_file

HISTORY = "history.parquet"
COLUMNS = ("step", "loss", "lr", "jets_per_second", "validation_loss", "validation_accuracy")
BETAS = (0.9, 0.99)


class Loader(Protocol):
    """Jets for training and evaluation (softjet.jets.batches.JetLoader)."""

    @property
    def n_jets(self) -> int:
        """Jets in all."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one pass."""

    def training(self, start_step: int = 0) -> Iterator[JetBatch]:
        """Endless batches from a step on, a function of seed and step alone."""

    def evaluation(self) -> Iterator[JetBatch]:
        """Batches that hold every jet once."""


def train_part(
    run: ParTRun,
    training: Loader,
    validation: Loader,
    folder: str | Path,
    state: str | Path,
) -> pd.DataFrame:
    """Train a Particle Transformer and write it with its history into `folder`.

    AdamW with a linear warm-up and a cosine to zero; the last weights are kept, so that no choice is made by
    looking at the validation jets. A killed training goes on from its last saved state and ends with the
    same weights, bit for bit on the same machine and number of threads.

    Parameters
    ----------
    run : ParTRun
        Shape and training.
    training, validation : Loader
        Jets to learn from; jets to measure loss and accuracy on.
    folder : path
        Gets model.safetensors, config.json and history.parquet.
    state : path
        Folder of the saved state, of this training alone: the caller names it by all that decides the result.

    Returns
    -------
    DataFrame
        A row a step: step, loss, lr, jets_per_second, validation_loss, validation_accuracy (NaN where not
        measured).

    Raises
    ------
    InputError
        The loss is not finite, or the saved state cannot be read.
    """
    saved = Path(state) / "state.pt"
    job = _Job.start(run, steps=max(1, round(run.training.epochs * training.steps_per_epoch)))
    if saved.exists():
        job.load(saved)
    _run(job, training, validation, saved)
    history = pd.DataFrame(job.history, columns=list(COLUMNS)).astype({"step": "int64"})
    save_part(folder, job.model)
    with whole_file(Path(folder) / HISTORY) as partial:
        history.to_parquet(partial, compression="zstd", index=False)
    saved.unlink(missing_ok=True)
    return history


def learning_rate(step: int, steps: int, config: Training) -> float:
    """Learning rate of a step (0 is the first): linear warm-up to the peak, then half a cosine to zero."""
    warmup = round(config.warmup * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def optimiser_of(model: nn.Module, config: Training) -> torch.optim.AdamW:
    """AdamW that decays matrices, not biases, norms, scales or the class token."""
    weights = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    matrices = [p for p in model.parameters() if id(p) in weights]
    others = [p for p in model.parameters() if id(p) not in weights]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS, fused=True)


@dataclass
class _Job:
    """All that changes while a model is trained, and so all that a saved state holds."""

    config: Training
    steps: int
    model: ParticleTransformer
    optimiser: torch.optim.AdamW
    step: int = 0
    history: list[tuple[float, ...]] = field(default_factory=list)

    @classmethod
    def start(cls, run: ParTRun, steps: int) -> "_Job":
        torch.manual_seed(run.training.seed)
        model = ParticleTransformer(run.model)
        return cls(run.training, steps, model, optimiser_of(model, run.training))

    def save(self, path: Path) -> None:
        content = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "step": self.step,
            "history": self.history,
        }
        with whole_file(path) as partial:
            torch.save(content, partial)

    def load(self, path: Path) -> None:
        try:
            content = torch.load(path, weights_only=True)
        except Exception as error:
            raise InputError(path, "state", f"cannot be read ({error}); remove it to train anew") from error
        self.model.load_state_dict(content["model"])
        self.optimiser.load_state_dict(content["optimiser"])
        torch.set_rng_state(content["random"])
        self.step, self.history = content["step"], content["history"]


def _run(job: _Job, training: Loader, validation: Loader, saved: Path) -> None:
    batches = training.training(job.step)
    last_save = time.monotonic()
    with Progress(job.steps, "train", "steps", done=job.step) as progress:
        while job.step < job.steps:
            row = _train_step(job, next(batches))
            due = job.step % job.config.validate_every == 0 or job.step == job.steps
            job.history.append((*row, *(_validate(job, validation) if due else (math.nan, math.nan))))
            if time.monotonic() - last_save >= job.config.save_every or job.step == job.steps:
                job.save(saved)
                last_save = time.monotonic()
            progress.advance(note=f"loss {row[1]:.3f}, {row[3]:.0f} jets/s")


def _train_step(job: _Job, batch: JetBatch) -> tuple[float, float, float, float]:
    start = time.perf_counter()
    rate = learning_rate(job.step, job.steps, job.config)
    for group in job.optimiser.param_groups:
        group["lr"] = rate
    loss = _loss(job, batch)
    job.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(job.model.parameters(), job.config.clip)
    job.optimiser.step()
    job.step += 1
    return job.step, loss.item(), rate, len(batch.labels) / (time.perf_counter() - start)


def class_loss(model: ParticleTransformer, batch: JetBatch, precision: str = "auto") -> Tensor:
    """Cross-entropy of a batch's classes, a scalar in float32."""
    with autocast(precision):
        logits = model(batch.features, batch.vectors, batch.mask)
    return functional.cross_entropy(logits.float(), batch.labels)


def _loss(job: _Job, batch: JetBatch) -> Tensor:
    loss = class_loss(job.model, batch, job.config.precision)
    if not math.isfinite(loss.item()):
        where = f"step {job.step + 1}"
        raise InputError("training", where, f"the loss is {loss.item()}: lower learning_rate or clip")
    return loss


def _validate(job: _Job, validation: Loader) -> tuple[float, float]:
    logits, labels, _ = predict_loader(job.model, validation, job.config.precision)
    accuracy = (logits.argmax(1) == labels).double().mean()
    return functional.cross_entropy(logits, labels).item(), accuracy.item()
