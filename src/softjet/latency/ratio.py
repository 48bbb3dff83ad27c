"""The ratio of two variants' times, with its interval, or the reason why there is none."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from softjet.errors import InputError
from softjet.latency.noise import steady_median
from softjet.latency.pairs import SETTING
from softjet.latency.stream import median_interval


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
    return Ratio(*median_interval(_ratios(times), bootstrap, seed))


def _ratios(times: np.ndarray) -> list[float]:
    return (times[:, 0] / times[:, 1]).tolist()


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
        runtime, device, batch, length, threads, warmup, pairs, median nanoseconds of a and of b (median_a,
        median_b), ratio, low, high (NaN where too noisy), note (empty, or the reason), and all nanoseconds of
        both, pair by pair (nanoseconds_a, nanoseconds_b).
    """
    rows = []
    for setting, group in table.groupby(SETTING, sort=False):
        times = pair_times(group, names)
        found, note = steady_median(_ratios(times), noise, "the ratio", bootstrap=bootstrap, seed=seed)
        medians = dict(zip(("median_a", "median_b"), np.median(times, axis=0).tolist(), strict=True))
        setting_row = dict(zip(SETTING, setting, strict=True))
        row = {**setting_row, "pairs": len(times), **medians, **Ratio(*found)._asdict(), "note": note}
        samples = dict(zip(("nanoseconds_a", "nanoseconds_b"), times.T.tolist(), strict=True))
        rows.append({**row, **samples})
    return pd.DataFrame(rows)
