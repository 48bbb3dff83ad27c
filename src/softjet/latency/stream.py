"""How long work waits for what it works on."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

Item = TypeVar("Item")


class Spent(NamedTuple):
    """Seconds of some steps: waiting for items, and working on them."""

    waiting: float
    working: float

    @property
    def share(self) -> float:
        """Share of the time that went by waiting."""
        return self.waiting / (self.waiting + self.working)


class Interval(NamedTuple):
    """Median of samples with its 95 % interval."""

    median: float
    low: float
    high: float


def spend(items: Iterator[Item], work: Callable[[Item], object], steps: int) -> Spent:
    """Time the waiting for items and the work on them, after a first item that does not count.

    Parameters
    ----------
    items : iterator
        Gives more than `steps` items.
    work : callable
        Returns only when its work is done.
    steps : int
        Items that count.
    """
    work(next(items))
    waiting, working = 0.0, 0.0
    for _ in range(steps):
        start = time.perf_counter()
        item = next(items)
        given = time.perf_counter()
        work(item)
        waiting, working = waiting + given - start, working + time.perf_counter() - given
    return Spent(waiting, working)


def median_interval(samples: list[float], bootstrap: int = 2000, seed: int = 1) -> Interval:
    """Median with a percentile bootstrap over the samples."""
    values = np.array(samples)
    draws = np.random.default_rng(seed).integers(len(values), size=(bootstrap, len(values)))
    low, high = np.quantile(np.median(values[draws], axis=1), (0.025, 0.975))
    return Interval(float(np.median(values)), float(low), float(high))


def forget(path: str | Path) -> None:
    """Ask the system to drop a file from its memory, so that it is read from disk next time."""
    with Path(path).open("rb") as file:
        os.fsync(file.fileno())  # Only pages that are on the disk can be dropped.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
