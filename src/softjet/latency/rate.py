"""Examples a second of one call, with an interval."""

import time
import timeit
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from softjet.latency.noise import steady_median


class Rate(NamedTuple):
    """Examples a second: median over the timed calls with its 95 % interval, or why not, and the calls."""

    rate: float
    low: float
    high: float
    note: str
    nanoseconds: list[int]


def measure_rate(
    call: Callable[[], object],
    examples: int,
    samples: int,
    noise: float = 0.2,
    bootstrap: int = 2000,
    seed: int = 1,
) -> Rate:
    """Time a call several times, after one that does not count (it may compile).

    Parameters
    ----------
    call : callable
        Returns only when its work is done.
    examples : int
        What a call works through.
    samples : int
        Timed calls; the garbage collector rests during each.
    noise : float
        See :func:`softjet.latency.noise.noise_note`.
    bootstrap, seed : int
        Resamples of the calls for the interval, and their seed.
    """
    call()
    nanoseconds = timeit.Timer(call, timer=time.perf_counter_ns).repeat(samples, number=1)
    rates = examples / (np.array(nanoseconds) * 1e-9)
    found, note = steady_median(rates.tolist(), noise, "the median", None, bootstrap, seed)
    return Rate(*found, note, [int(n) for n in nanoseconds])
