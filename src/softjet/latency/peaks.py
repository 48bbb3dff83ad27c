"""The most that this machine can do: matrix products and memory, measured beside what is compared with it."""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch

from softjet.latency.noise import steady_median
from softjet.latency.pairs import finished, measure_turns

BANDWIDTH = "memory"
"""Name of the memory's peak in the tables; those of matrix products are named by their precision."""

UNITS = {BANDWIDTH: "B/s"}
"""Of the peaks that are not FLOP/s."""

SIZE = 2048
"""Rows and columns of the matrices that are multiplied."""

LENGTH = 2**26
"""Numbers of each of the three arrays of the triad: 256 MiB."""

WARMUP = 2
"""Calls of each before the clock counts."""


def sample_peaks(
    precisions: Iterable[str],
    samples: int,
    size: int = SIZE,
    length: int = LENGTH,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """Time square matrix products and the triad a = b + s c, in turns.

    Sampled before and after a benchmark, the halves of the samples tell whether the machine changed
    meanwhile.

    Parameters
    ----------
    precisions : iterable of str
        Of the products: "float32", "bfloat16".
    samples : int
        Timed calls of each.
    size : int
        Rows and columns of the matrices.
    length : int
        Float32 numbers of an array of the triad; the three are to be far larger than the caches.
    device : torch.device or str
        What computes.

    Returns
    -------
    DataFrame
        A row a timed call: peak (precision, or "memory"), unit (FLOP/s or B/s), work (FLOPs or bytes a
        call: the triad reads two arrays and writes one), size, threads, order, nanoseconds.
    """
    calls: dict[str, Callable[[], object]] = {name: _product(name, size, device) for name in precisions}
    calls[BANDWIDTH] = _triad(length, device)
    calls = {name: finished(call, device) for name, call in calls.items()}
    table = measure_turns(calls, samples, WARMUP).rename(columns={"variant": "peak"})
    is_memory = table["peak"] == BANDWIDTH
    return table.assign(
        unit=table["peak"].map(UNITS).fillna("FLOP/s"),
        work=np.where(is_memory, 3 * 4 * length, 2 * size**3),
        size=np.where(is_memory, length, size),
        threads=torch.get_num_threads(),
    )


def summarise_peaks(samples: pd.DataFrame, noise: float = 0.2) -> pd.DataFrame:
    """A row a peak: its median with a 95 % interval, or a note that the machine was too noisy.

    Parameters
    ----------
    samples : DataFrame
        Of :func:`sample_peaks`; of several calls, in the order measured.
    noise : float
        See :func:`softjet.latency.noise.noise_note`.

    Returns
    -------
    DataFrame
        peak, unit, work, size, threads, n, median, low, high (a second; NaN where too noisy), note,
        nanoseconds (of every call).
    """
    rows = []
    for setting, group in samples.groupby(["peak", "unit", "work", "size", "threads"], sort=False):
        rates = group["work"] / (group["nanoseconds"] * 1e-9)
        found, note = steady_median(rates.tolist(), noise, "the median")
        row = dict(zip(("peak", "unit", "work", "size", "threads"), setting, strict=True))
        nanoseconds = group["nanoseconds"].tolist()
        rows.append({**row, "n": len(group), **found._asdict(), "note": note, "nanoseconds": nanoseconds})
    return pd.DataFrame(rows)


def with_limits(table: pd.DataFrame, peaks: pd.DataFrame) -> pd.DataFrame:
    """Set the time of calls beside the least that the peaks allow.

    The least time is that of the matrix products at the peak of their precision, or that of reading at the
    memory's, whichever is longer. What a call reads may still be in the caches from the last one; then it can
    be faster than memory allows.

    Parameters
    ----------
    table : DataFrame
        Of :func:`softjet.latency.summarise`, with the columns of :meth:`softjet.latency.work.Work.columns`
        for the work of a call of b.
    peaks : DataFrame
        Of :func:`summarise_peaks`.

    Returns
    -------
    DataFrame
        Also limit (nanoseconds of a call), limited_by ("arithmetic" or "memory") and of_limit, the limit over
        the time of b. NaN where the table or a peak that is needed is too noisy.

    Raises
    ------
    KeyError
        A precision whose peak was not measured.
    """
    peak = peaks.set_index("peak")["median"]
    counted = table.filter(regex="^flops_")
    # What has no product of a precision does not need its peak.
    parts = [
        (flops / peak[str(name).removeprefix("flops_")]).where(flops > 0, 0.0)
        for name, flops in counted.items()
    ]
    arithmetic = 1e9 * sum(parts, pd.Series(0.0, table.index))
    memory = 1e9 * table["bytes_read"] / peak[BANDWIDTH]
    limit = arithmetic.where(arithmetic > memory, memory).where(arithmetic.notna() & memory.notna())
    by = pd.Series(np.where(arithmetic > memory, "arithmetic", "memory"), table.index).where(
        limit.notna(), ""
    )
    share = (limit / table["median_b"]).where(table["note"] == "")
    return table.assign(limit=limit, limited_by=by, of_limit=share)


def _product(precision: str, size: int, device: torch.device | str) -> Callable[[], object]:
    a, b = (torch.randn(size, size, device=device).to(getattr(torch, precision)) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def _triad(length: int, device: torch.device | str) -> Callable[[], object]:
    b, c = (torch.ones(length, device=device) for _ in range(2))
    out = torch.empty_like(b)
    return lambda: torch.add(b, c, alpha=0.5, out=out)
