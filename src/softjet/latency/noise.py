"""A median with its interval, or the reason why the machine was too noisy for one."""

from collections.abc import Sequence

import numpy as np

from softjet.latency.stream import Interval, median_interval

NOTHING = Interval(np.nan, np.nan, np.nan)
"""What is given where the machine was too noisy."""


def noise_note(
    values: Sequence[float], found: Interval, noise: float, what: str, scale: float | None = None
) -> str:
    """Say why a median is not to be given; empty if it is to be.

    Too noisy is a measurement whose interval is wider than `noise` of its median, or whose median changes by
    more than that from the first half of the samples to the second: the machine changed meanwhile.

    Parameters
    ----------
    values : sequence of float
        At least two samples, in the order measured.
    found : Interval
        Of them.
    noise : float
        Limit of both criteria.
    what : str
        What they are a share of, for the note: "the ratio".
    scale : float, optional
        What they are a share of, if not the median.
    """
    scale = found.median if scale is None else scale
    if not np.isfinite(values).all() or scale <= 0:
        return "no number: nothing above zero was measured"
    first, second = (np.median(half) for half in np.array_split(values, 2))
    width, change = (found.high - found.low) / scale, abs(second - first) / scale
    if max(width, change) <= noise:
        return ""
    text = f"interval {width:.0%} of {what} wide, halves differ by {change:.0%}"
    return f"too noisy: {text}; at most {noise:.0%}"


def steady_median(
    values: Sequence[float],
    noise: float,
    what: str,
    scale: float | None = None,
    bootstrap: int = 2000,
    seed: int = 1,
) -> tuple[Interval, str]:
    """Median of samples with its 95 % interval and an empty note, or NaN and the reason (`noise_note`)."""
    found = median_interval(list(values), bootstrap, seed)
    note = noise_note(values, found, noise, what, scale)
    return (NOTHING if note else found), note
