"""How fast batches are made, how fast Particle Transformer trains on them, and how long it waits for them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from softjet.config.part import ParTRun, Training
from softjet.device import chosen_precision
from softjet.jets.batches import JetLoader
from softjet.latency.noise import steady_median
from softjet.latency.stream import forget, spend
from softjet.part.model import ParticleTransformer
from softjet.part.native_training import compile_for
from softjet.part.optimiser import optimiser_of
from softjet.part.prediction import JetBatch
from softjet.part.train import class_loss

SHARE = "share of time"

UNITS = {
    "loader, first epoch": "jets/s",
    "loader, later epochs": "jets/s",
    "training": "jets/s",
    "waiting": SHARE,
}

POOL_BATCHES = 4
"""Batches a pool in the measurement of waiting: pools change all the time, and none is kept in memory."""


def measure_feeding(
    paths: Sequence[str | Path],
    run: ParTRun,
    steps: Mapping[int, int],
    samples: int,
    threads: int,
    scratch: str | Path,
    noise: float = 0.2,
) -> pd.DataFrame:
    """Measure the loader alone, and training steps that it feeds.

    The first epoch of the loader comes from disk: files leave the system's memory before it. Training steps
    are fed from disk too, by a loader that keeps nothing and holds a few batches a pool, which is more work a
    jet than pools of the usual size are. The first batch does not count. Measurements of all batch sizes take
    turns, and every second time in reverse.

    Parameters
    ----------
    paths : sequence of paths
        Jets.
    run : ParTRun
        Model and training.
    steps : mapping of int to int
        Training steps by batch size.
    samples : int
        Repetitions of everything.
    threads : int
        Noted in the table.
    scratch : path
        Folder, on a disk, for a copy of the jets in small row groups.
    noise : float
        See :func:`softjet.latency.noise.noise_note`; of waiting a share of all the time.

    Returns
    -------
    DataFrame
        quantity, batch, unit, median, low, high (95 % bootstrap interval; NaN where too noisy), note,
        samples, jets (in the files), threads, precision (of training).
    """
    step = training_step(ParticleTransformer(run.model), run.training)
    values: dict[tuple[str, int], list[float]] = {}
    with TemporaryDirectory(dir=scratch, prefix=".partial-") as folder:
        small = {size: _small_row_groups(paths, Path(folder) / f"{size}.parquet", size) for size in steps}
        for sample in range(samples):
            for size in list(steps)[:: 1 if sample % 2 == 0 else -1]:
                measured = _loader_rates(paths, run, size) | _fed(small[size], run, size, steps[size], step)
                for name, value in measured.items():
                    values.setdefault((name, size), []).append(value)
    jets = sum(pq.read_metadata(path).num_rows for path in paths)
    about = {"jets": jets, "threads": threads, "precision": chosen_precision(run.training.precision)}
    rows = [
        {"quantity": name, "batch": size, **_median(name, found, noise), "samples": found, **about}
        for (name, size), found in values.items()
    ]
    return pd.DataFrame(rows)


def _median(quantity: str, samples: list[float], noise: float) -> dict[str, float | str]:
    # A share near zero is told by what it is a share of.
    scale = 1.0 if UNITS[quantity] == SHARE else None
    found, note = steady_median(samples, noise, "the median" if scale is None else "the time", scale)
    return {"unit": UNITS[quantity], **found._asdict(), "note": note}


def training_step(model: nn.Module, config: Training) -> Callable[[JetBatch], float]:
    """A step of training, which gives its loss: loss, gradients, clipping, optimiser."""
    if isinstance(model, ParticleTransformer):
        compile_for(model, config)
    optimiser = optimiser_of(model, config)

    def step(batch: JetBatch) -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = class_loss(model, batch, config.precision)
        loss.backward()
        if config.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimiser.step()
        return loss.item()

    return step


def _loader_rates(paths: Sequence[str | Path], run: ParTRun, size: int) -> dict[str, float]:
    for path in paths:
        forget(path)
    loader = JetLoader.for_model(paths, run.model, size)
    with closing(loader.training()) as batches:
        first, later = (loader.n_jets / _seconds(batches, loader.steps_per_epoch) for _ in range(2))
    return {"loader, first epoch": first, "loader, later epochs": later}


def _seconds(batches: Iterator[JetBatch], n: int) -> float:
    start = time.perf_counter()
    for _ in islice(batches, n):
        pass
    return time.perf_counter() - start


def _fed(
    path: Path, run: ParTRun, size: int, steps: int, step: Callable[[JetBatch], float]
) -> dict[str, float]:
    forget(path)
    shape = run.model
    loader = JetLoader([path], shape.features, size, 0, shape.max_particles, pool=POOL_BATCHES * size, kept=0)
    with closing(loader.training()) as batches:
        spent = spend(batches, step, steps)
    # Batches of an epoch hold the same number of jets, give or take a few.
    jets = steps * loader.n_jets / loader.steps_per_epoch
    return {"training": jets / spent.working, "waiting": spent.share}


def _small_row_groups(paths: Sequence[str | Path], target: Path, jets: int) -> Path:
    tables = pa.concat_tables(pq.read_table(path) for path in paths)
    pq.write_table(tables, target, compression="zstd", row_group_size=jets)
    return target
