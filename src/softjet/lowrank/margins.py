"""What lies within a margin of the dense model, and how much can go before it does not."""

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from softjet.lowrank.compare import DENSE

MARGINS = {"difference": 0.01, "ratio": 0.1}
"""A point of accuracy; a tenth of a perplexity or a rejection."""


def within(
    low: ArrayLike, high: ArrayLike, margin: float, change_is: str = "difference"
) -> NDArray[np.bool_]:
    """Whether a change is shown to be smaller than a margin in either direction: its interval lies within.

    That is the test of equivalence by two one-sided tests, at 2.5 % each with intervals of 95 %. An interval
    that holds zero shows nothing of the kind.

    Parameters
    ----------
    low, high : array or float
        Interval of the change.
    margin : float
        Of a difference in its unit: 0.005; of a ratio its distance from 1: 0.1 is 0.9 to 1.1.
    change_is : str
        "difference" or "ratio".
    """
    centre = 1.0 if change_is == "ratio" else 0.0
    return (np.asarray(low) > centre - margin) & (np.asarray(high) < centre + margin)


def largest_removed(table: pd.DataFrame, margin: float, size: str = "keep") -> pd.DataFrame:
    """Largest share that can go with a metric no worse than dense by more than a margin.

    Keep ratios are gone through from the gentlest on, and the first that is worse ends it: a smaller model
    that does well by chance after a larger one that does not is not counted.

    Parameters
    ----------
    table : DataFrame
        Of `softjet.lowrank.compare.compare_methods`.
    margin : float
        As for :func:`within`.
    size : str
        Column of the share that stays: keep, or one that `softjet.lowrank.compare.add_sizes` has added.

    Returns
    -------
    DataFrame
        A row a metric and method: metric, method, margin, removed (largest share whose change is within the
        margin as measured), shown (largest whose whole interval is). 0 where the gentlest measured is worse,
        NaN where none was measured, or none with an interval.
    """
    rows = []
    measured = table[(table["against"] == DENSE) & (table["method"] != DENSE)]
    for (metric, method), own in measured.groupby(["metric", "method"], sort=False):
        own = own.sort_values(size, ascending=False)
        removed, shown = (
            _removed(own, own[columns], margin, size) for columns in (["change"] * 2, ["low", "high"])
        )
        rows.append((metric, method, margin, removed, shown))
    return pd.DataFrame(rows, columns=["metric", "method", "margin", "removed", "shown"])


def add_equivalence(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `margin`, of `MARGINS`, and `alike`: whether a change is shown to lie within it."""
    kinds = [table["change_is"] == kind for kind in MARGINS]
    shown = [within(table["low"], table["high"], margin, kind) for kind, margin in MARGINS.items()]
    return table.assign(margin=table["change_is"].map(MARGINS), alike=np.select(kinds, shown, default=False))


def removed_table(table: pd.DataFrame, size: str = "keep") -> pd.DataFrame:
    """:func:`largest_removed` of every metric: within a point of a difference, within a tenth of a ratio."""
    parts = [
        largest_removed(table[table["change_is"] == kind], margin, size) for kind, margin in MARGINS.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _removed(own: pd.DataFrame, ends: pd.DataFrame, margin: float, size: str) -> float:
    known = ends.notna().all(axis=1)
    if not known.any():
        return math.nan
    own, ends = own[known], ends[known]
    low, high = ends.to_numpy(float).T
    centre = 1.0 if own["change_is"].iloc[0] == "ratio" else 0.0
    good = low > centre - margin if own["better"].iloc[0] == "higher" else high < centre + margin
    gone = 1 - own[size].to_numpy(float)
    return float(max(gone[np.logical_and.accumulate(good)], default=0.0))
