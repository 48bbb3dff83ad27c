"""The ratio of two variants' times, with its interval, or the reason why there is none."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from softjet.errors import InputError
from softjet.latency.pairs import SETTING


class Ratio(NamedTuple):
    """Median of a's time over b's in the same pair (above 1: b is faster), with its 95 % interval."""

    ratio: float
    low: float
    high: float


def pair_times(table: pd.DataFrame, names: tuple[str, str] = ("dense", "compressed")) -> np.ndarray:
    """Nanoseconds of both variants, shape (pairs, 2), in the order in which the pairs were measured.

    Parameters
    ----------
    table : DataFrame
        Of :func:`softjet.latency.measure_pair`, one setting only.
    names : pair of str
        The variants, a and b.

    Raises
    ------
    InputError
        Rows that do not make pairs of the two variants.
    """
    pairs = table.assign(pair=table["order"] // 2)
    if pairs.duplicated(["pair", "variant"]).any():
        raise InputError("latency table", "order", "is not unique; give the rows of one setting at a time")
    times = pairs.pivot_table(index="pair", columns="variant", values="nanoseconds").reindex(
        columns=list(names)
    )
    if times.empty or times.isna().to_numpy().any():
        raise InputError("latency table", "variant", f"does not hold {names[0]} and {names[1]} in every pair")
    return times.to_numpy(float)


def median_ratio(
    table: pd.DataFrame,
    names: tuple[str, str] = ("dense", "compressed"),
    bootstrap: int = 2000,
    seed: int = 1,
) -> Ratio:
    """Median over pairs of a's time over b's, with a percentile bootstrap over pairs.

    Parameters
    ----------
    table : DataFrame
        Of :func:`softjet.latency.measure_pair`, one setting only.
    names : pair of str
        The variants, a and b.
    bootstrap : int
        Resamples of the pairs.
    seed : int
        Of the bootstrap.
    """
    return _median_ratio(pair_times(table, names), bootstrap, seed)


def _median_ratio(times: np.ndarray, bootstrap: int, seed: int) -> Ratio:
    ratios = times[:, 0] / times[:, 1]
    draws = np.random.default_rng(seed).integers(len(ratios), size=(bootstrap, len(ratios)))
    low, high = np.quantile(np.median(ratios[draws], axis=1), (0.025, 0.975))
    return Ratio(float(np.median(ratios)), float(low), float(high))


def summarise(
    table: pd.DataFrame,
    names: tuple[str, str] = ("dense", "compressed"),
    noise: float = 0.2,
    bootstrap: int = 2000,
    seed: int = 1,
) -> pd.DataFrame:
    """A row a setting: both medians, the ratio with its interval, or a note that the machine was too noisy.

    Too noisy is a measurement whose interval is wider than `noise` of the ratio, or whose ratio changes by
    more than that from the first half of the pairs to the second: the machine changed meanwhile.

    Parameters
    ----------
    table : DataFrame
        Of :func:`softjet.latency.measure_pair`, any number of settings.
    names, bootstrap, seed
        As for :func:`median_ratio`.
    noise : float
        Limit of both criteria.

    Returns
    -------
    DataFrame
        runtime, device, batch, length, threads, pairs, median nanoseconds of a and of b (median_a, median_b),
        ratio, low, high (NaN where too noisy), note (empty, or the reason).
    """
    rows = []
    for setting, group in table.groupby(SETTING, sort=False):
        times = pair_times(group, names)
        result = _median_ratio(times, bootstrap, seed)
        note = _noise_note(times, result, noise)
        if note:
            result = Ratio(np.nan, np.nan, np.nan)
        medians = dict(zip(("median_a", "median_b"), np.median(times, axis=0).tolist(), strict=True))
        setting_row = dict(zip(SETTING, setting, strict=True))
        rows.append({**setting_row, "pairs": len(times), **medians, **result._asdict(), "note": note})
    return pd.DataFrame(rows)


def _noise_note(times: np.ndarray, result: Ratio, noise: float) -> str:
    ratios = times[:, 0] / times[:, 1]
    first, second = (np.median(half) for half in np.array_split(ratios, 2))
    width, change = (result.high - result.low) / result.ratio, abs(second - first) / result.ratio
    if max(width, change) <= noise:
        return ""
    found = f"interval {width:.0%} of the ratio wide, halves differ by {change:.0%}"
    return f"too noisy: {found}; at most {noise:.0%}"
