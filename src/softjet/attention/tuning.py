"""Short further training of a network that attends to the few largest weights of each query."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from softjet.attention.topk import with_top_k
from softjet.config.part import Training
from softjet.errors import InputError
from softjet.part.model import ParticleTransformer
from softjet.part.optimiser import optimiser_of, set_rate
from softjet.part.prediction import JetBatch
from softjet.part.schedule import learning_rate
from softjet.part.train import Loader, class_loss
from softjet.progress import Progress
from softjet.state import Resumable

COLUMNS = ("step", "loss", "lr")


def fine_tune(
    model: ParticleTransformer,
    training: Loader,
    run: Training,
    k: int,
    state: str | Path,
    class_blocks: bool = False,
) -> pd.DataFrame:
    """Train a network further while it attends with its k largest weights.

    Killed, it goes on from its last saved state and ends with the same weights, bit for bit on the same
    machine and number of threads. The state stays: the caller removes it when the result is written.

    Parameters
    ----------
    model : ParticleTransformer
        Changed in place, and left in evaluation mode.
    training : Loader
        Jets; the batches depend on its seed and the step alone, so that networks with other k see the same.
    run : Training
        With `steps`; its optimiser, learning rate, schedule, clip, precision and `save_every` are used.
    k : int
        Weights kept; 0 keeps all.
    state : path
        Folder of the saved state, of this fine-tuning alone: the caller names it by all that decides the
        result.
    class_blocks : bool
        Cut the class token's attention too.

    Returns
    -------
    DataFrame
        A row a step: step, loss, lr.

    Raises
    ------
    InputError
        The loss is not finite, or the saved state cannot be read.
    """
    saved = Path(state) / "state.pt"
    job = _Job(model, run)
    if saved.exists():
        job.load(saved)
    model.train()
    with with_top_k(model, k, class_blocks):
        _run(job, training, saved, f"fine-tune k={k}")
    model.eval()
    return pd.DataFrame(job.history, columns=list(COLUMNS)).astype({"step": "int64"})


class _Job(Resumable):
    """A network under fine-tuning."""

    def __init__(self, model: ParticleTransformer, run: Training) -> None:
        assert run.steps is not None
        self.model, self.config, self.steps = model, run, run.steps
        self.optimiser = optimiser_of(model, run)
        self.rows = np.full((run.steps, len(COLUMNS)), np.nan)


def _run(job: _Job, training: Loader, saved: Path, what: str) -> None:
    batches, last_save = training.training(job.step), time.monotonic()
    with Progress(job.steps, what, "steps", done=job.step) as progress:
        while job.step < job.steps:
            rate = learning_rate(job.step, job.steps, job.config)
            set_rate(job.optimiser, rate)
            loss = _learn(job, next(batches))
            job.rows[job.step] = (job.step + 1, loss, rate)
            job.step += 1
            if time.monotonic() - last_save >= job.config.save_every or job.step == job.steps:
                job.save(saved)
                last_save = time.monotonic()
            progress.advance(note=f"loss {loss:.3f}")


def _learn(job: _Job, batch: JetBatch) -> float:
    # Dropout follows from seed and step alone, so that it is the same after a resume.
    torch.manual_seed(
        int(np.random.SeedSequence([job.config.seed, job.step]).generate_state(1, np.uint64)[0])
    )
    job.optimiser.zero_grad(set_to_none=True)
    loss = class_loss(job.model, batch, job.config.precision)
    if not loss.isfinite():
        raise InputError("topk", "learning_rate", f"the loss is {loss.item()}: lower it")
    loss.backward()
    if job.config.clip is not None:
        nn.utils.clip_grad_norm_(job.model.parameters(), job.config.clip)
    job.optimiser.step()
    return loss.item()
