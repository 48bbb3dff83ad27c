"""Figure of how attention grows along a training, from its table alone."""

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from softjet.figures.style import COLOURS, LINES, new_figure, save_figure

ALL = -1
Row = Mapping[Hashable, Any]
"""Of the table of growth, with `when`: how far the training was, in words."""

KINDS = {"above": "on one particle", "above_other": "on another particle"}


def draw_growth(growth: pd.DataFrame, target: str | Path, batch_size: int, start_from: str = "") -> None:
    """Share of queries above each threshold against the jets seen in training, beside random logits.

    Parameters
    ----------
    growth : DataFrame
        By `softjet.attention.growth.growth_table`.
    target : path
        PNG; a PDF stands beside it.
    batch_size : int
        Jets a step.
    start_from : str
        The network that the training starts from; empty: an untrained one.
    """
    overall = growth[growth["layer"] == ALL]
    figure, axes = new_figure(1, 2, width=4.2, height=3.4, sharey=True)
    for panel, (statistic, name) in zip(axes, KINDS.items(), strict=True):
        rows = overall[overall["statistic"] == statistic]
        for place, (threshold, curve) in enumerate(rows.groupby("threshold")):
            curve = curve.sort_values("step")
            seen, share = curve["step"] * batch_size, 100 * curve["value"]
            spread = 100 * curve[["low", "high"]].sub(curve["value"], axis=0).abs().T
            look = {"color": COLOURS[place % len(COLOURS)], "linestyle": LINES[place % len(LINES)]}
            panel.errorbar(
                seen, share, spread, marker="o", markersize=4, capsize=2, label=f"> {threshold:g}", **look
            )
            panel.plot(seen, 100 * curve["null"], marker="s", markersize=3, alpha=0.4, linewidth=0.8, **look)
        panel.set_xscale("symlog", linthresh=max(1, rows[rows["step"] > 0]["step"].min() * batch_size))
        panel.set(xlabel="jets seen in training", title=f"largest weight {name}", ylim=(0, None))
    axes[0].set_ylabel("share of queries (%)")
    axes[0].legend(title="circles: network; squares: random")
    origin = "; at 0 the network it started from" if start_from else ""
    figure.suptitle(f"{int(overall['n_jets'].max()):,} test jets; bars: 95 %{origin}", fontsize=9)
    save_figure(figure, target)


def growth_sentence(
    growth: pd.DataFrame, batch_size: int, start_from: str = "", threshold: float = 0.8
) -> str:
    """Say how the share of queries that put most weight on another particle changes along the training.

    Parameters
    ----------
    growth : DataFrame
        By `softjet.attention.growth.growth_table`.
    batch_size : int
        Jets a step.
    start_from : str
        The network that the training starts from; empty: an untrained one.
    threshold : float
        The nearest of the table's is taken.
    """
    overall = growth[growth["layer"] == ALL]
    rows = overall[overall["statistic"] == "above_other"]
    nearest = rows["threshold"].iloc[int((rows["threshold"] - threshold).abs().argmin())]
    overall = overall[overall["threshold"] == nearest].sort_values("step")
    seen = overall["step"].mul(batch_size).map(lambda jets: _when(jets, start_from))
    of_kind = {name: kind.to_dict("records") for name, kind in overall.assign(when=seen).groupby("statistic")}
    at = of_kind["above_other"]
    return (
        f"The share of queries with more than {nearest:g} of their weight on another particle "
        f"{_verdict(at)}: "
        + ", ".join(f"{_share(row)} {row['when']}" for row in at)
        + f" ({at[-1]['n_jets']} test jets, the same for all; of one training, so the spread of trainings is "
        f"not told).{_itself_included(of_kind.get('above', ()))}"
    )


def _itself_included(at: Sequence[Row]) -> str:
    """How the share on any particle changes, which a query's weight on itself can turn the other way."""
    if not at:
        return ""
    ends = f"first {_share(at[0])}, last {_share(at[-1])}"
    return f" On any particle, themselves included, it {_verdict(at)}: {ends}."


def _verdict(at: Sequence[Row]) -> str:
    """Whether the share changes, by the intervals of the first, the last and the largest value."""
    first, last = at[0], at[-1]
    peak = max(at, key=lambda row: row["value"])
    if pd.isna([first["low"], last["low"]]).any():
        return "has no interval, with too few jets a class to tell whether it changes with training"
    grows, falls = last["low"] > first["high"], last["high"] < first["low"]
    if peak["low"] > max(first["high"], last["high"]):
        end = "higher than" if grows else "lower than" if falls else "near where"
        return f"ends {end} it began, after a peak of {_share(peak)} {peak['when']}"
    if grows or falls:
        return f"{'grows' if grows else 'falls'} with training"
    return "does not change with training beyond the intervals"


def _share(row: Row) -> str:
    value, low, high = (100 * row[name] for name in ("value", "low", "high"))
    digits = _digits(value)
    return f"{value:.{digits}f} %" + ("" if pd.isna(low) else f" [{low:.{digits}f}, {high:.{digits}f}]")


def _digits(percent: float) -> int:
    """Two, and as many more as a small share needs so as not to read 0.00."""
    return 1 - math.floor(math.log10(percent)) if 0 < percent < 0.01 else 2


def _when(jets: int, start_from: str) -> str:
    """How far the training is; its start, where that is no untrained network, by name."""
    if start_from and not jets:
        return f"in {start_from}, the network it started from"
    return f"after {jets:,} jets"
