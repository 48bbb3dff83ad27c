"""How time and memory grow with the size of what is worked on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from softjet.latency.memory import measure_memory
from softjet.latency.noise import steady_median
from softjet.latency.pairs import Call, measure_turns, turns

TIME, MEMORY = "seconds", "megabytes"
"""Quantities: of a call, and of memory at most beyond what stands there before it."""

KEYS = ["round", "size", "quantity", "value"]


def sample_times(calls: Mapping[int, Call], rounds: int, warmup: int = 1) -> pd.DataFrame:
    """Time calls of every size in this process, round by round, every second round from large to small.

    Parameters
    ----------
    calls, rounds, warmup
        By size; otherwise as of :func:`softjet.latency.pairs.measure_turns`, whose samples the rounds are.

    Returns
    -------
    DataFrame
        A row a call: round, size, quantity ("seconds"), value.
    """
    table = measure_turns(calls, rounds, warmup)
    found = {"round": table["order"] // len(calls), "size": table["variant"], "quantity": TIME}
    return pd.DataFrame({**found, "value": table["nanoseconds"] * 1e-9})[KEYS]


def sample_processes(
    function: str,
    arguments: Mapping[int, Sequence[Any]],
    prepare: Sequence[Any],
    rounds: int,
    advance: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """Call a function for every size in a process of its own, in the order of `sample_times`.

    Parameters
    ----------
    function : str
        "package.module:name"; see :func:`softjet.latency.memory.measure_memory`.
    arguments : mapping of size to sequence
        What it is called with.
    prepare : sequence
        What it is called with before that, such as a smaller size still.
    rounds : int
        Processes of each size.
    advance : callable
        Called after each process.

    Returns
    -------
    DataFrame
        Two rows a process: round, size, quantity ("seconds", "megabytes"), value.
    """
    rows: list[tuple] = []
    for place, size in enumerate(turns(list(arguments), rounds)):
        memory = measure_memory(function, arguments[size], prepare)
        taken = {TIME: memory.seconds, MEMORY: memory.peak - memory.before}
        rows += [(place // len(arguments), size, *quantity) for quantity in taken.items()]
        advance()
    return pd.DataFrame(rows, columns=KEYS)


def measure_growth(
    function: str,
    arguments: Mapping[int, Sequence[Any]],
    prepare: Sequence[Any],
    processes: int,
    calls: Mapping[int, Call] | None = None,
    rounds: int = 0,
    noise: float = 0.2,
    advance: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """Time and memory by size, with their exponents.

    Parameters
    ----------
    function, arguments, prepare, advance
        See `sample_processes`.
    processes : int
        Processes of each size.
    calls : mapping of size to callable, optional
        What is timed in this process instead of the processes' calls, without what these do first.
    rounds : int
        Timed calls of each.
    noise : float
        See `summarise_growth`.

    Returns
    -------
    DataFrame
        As of `summarise_growth`.
    """
    samples = sample_processes(function, arguments, prepare, processes, advance)
    if calls is not None:
        times = sample_times(calls, rounds)
        samples = pd.concat([times, samples[samples["quantity"] == MEMORY]])
    return summarise_growth(samples, noise)


def summarise_growth(
    samples: pd.DataFrame, noise: float = 0.2, bootstrap: int = 2000, seed: int = 1
) -> pd.DataFrame:
    """A row a quantity and size, with the exponent of the growth, or notes that the machine was too noisy.

    The exponent is the slope of the logarithm of the quantity against that of the size, over the upper half
    of the sizes (two at least): below, what is the same for all sizes hides the growth. It is taken in every
    round, so that what slows the machine for a while cancels; the median over the rounds is given, with a
    bootstrap over them. Where `noise` is exceeded by the interval of the exponent or by its change from the
    first half of the rounds to the second, none is given.

    Parameters
    ----------
    samples : DataFrame
        Of :func:`sample_times` or :func:`sample_processes`, of at least two rounds.
    noise : float
        Limit; of the median for values (see :func:`softjet.latency.noise.noise_note`), of one for exponents.
    bootstrap, seed : int
        Resamples of the rounds for intervals, and their seed.

    Returns
    -------
    DataFrame
        quantity, size, n (rounds), median, low, high (NaN where too noisy), note, exponent, exponent_low,
        exponent_high (the same for all sizes of a quantity), exponent_note, samples (all values).
    """
    rows = []
    for quantity, group in samples.groupby("quantity", sort=False):
        values = group.pivot_table(index="round", columns="size", values="value")
        sizes = len(values.columns)
        upper = values[values.columns[min(sizes // 2, sizes - 2) :]]
        slope, slope_note = steady_median(_slopes(upper), noise, "one", 1.0, bootstrap, seed)
        names = ("exponent", "exponent_low", "exponent_high")
        growth = {**dict(zip(names, slope, strict=True)), "exponent_note": slope_note}
        for size, column in values.items():
            found, note = steady_median(column.tolist(), noise, "the median", None, bootstrap, seed)
            row = {"quantity": quantity, "size": size, "n": len(column), **found._asdict(), "note": note}
            rows.append({**row, **growth, "samples": column.tolist()})
    return pd.DataFrame(rows)


def _slopes(values: pd.DataFrame) -> list[float]:
    """Slope of log value against log size in every round."""
    x, y = np.log(values.columns.to_numpy(float)), np.log(values.where(values > 0).to_numpy(float))
    x = x - x.mean()
    return (y @ x / (x @ x)).tolist()
