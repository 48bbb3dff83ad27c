"""Figure of time and memory against the size of what is worked on."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from softjet.figures.style import COLOURS, LINES, NARROWEST, new_figure, save_figure

QUANTITIES = {"seconds": "time of a call (s)", "megabytes": "memory of a call at most (MB)"}
"""Rows of the figure, and what their axes say."""

SIZES = {"particles": "particles of a jet", "jets": "jets of a data set", "tokens": "tokens of a text"}
"""Columns of the figure, and what their axes say."""

MARKERS = ("o", "s", "^", "D")


def draw_scaling(growth: pd.DataFrame, target: str | Path) -> None:
    """Time (above) and memory (below) against size, on logarithmic axes, with the exponents.

    Parameters
    ----------
    growth : DataFrame
        By the rule `bench_growth`: what `softjet.latency.growth.summarise_growth` gives, and what is measured
        (work), the size's unit (counted) and what a call is given (call).
    target : str or path
        PNG; a PDF is written beside it.
    """
    counted = [name for name in SIZES if name in set(growth["counted"])]
    figure, axes = new_figure(2, len(counted), width=4.0, height=3.3, least=(NARROWEST, 0), squeeze=False)
    for row, (quantity, label) in enumerate(QUANTITIES.items()):
        for column, name in enumerate(counted):
            panel = axes[row, column]
            curves = growth[(growth["quantity"] == quantity) & (growth["counted"] == name)]
            _draw_curves(panel, curves)
            # A logarithmic axis cannot be empty.
            drawn = "log" if curves["median"].notna().any() else "linear"
            panel.set(xscale="log", yscale=drawn, xlabel=SIZES[name])
            _label_sizes(panel, sorted(set(curves["size"])))
        axes[row, 0].set_ylabel(label)
    figure.suptitle(
        "median and 95 % interval; in brackets the exponent over the upper half of the sizes", fontsize=9
    )
    save_figure(figure, target)


def _draw_curves(panel: Axes, curves: pd.DataFrame) -> None:
    for place, (work, curve) in enumerate(curves.groupby("work", sort=False)):
        curve = curve.sort_values("size")
        spread = curve[["low", "high"]].sub(curve["median"], axis=0).abs().T
        panel.errorbar(
            curve["size"], curve["median"], spread, label=f"{work}\n{_of_curve(curve)}", capsize=2,
            marker=MARKERS[place], markersize=4, color=COLOURS[place], linestyle=LINES[place],
        )  # fmt: skip
    # Above all curves, which rise to the right.
    panel.margins(y=0.25)
    panel.tick_params(which="both", top=False, right=False, length=3)
    panel.legend(loc="upper left", fontsize=7.5, handlelength=3.5)


def _of_curve(curve: pd.DataFrame) -> str:
    first = curve.iloc[0]
    names = ("exponent", "exponent_low", "exponent_high")
    slope, low, high = (float(first[name]) for name in names)
    grows = "too noisy" if np.isnan(slope) else f"{slope:.2f}, {low:.2f} to {high:.2f}"
    return f"{first['call']}, n = {first['n']} ({grows})"


def _label_sizes(panel: Axes, sizes: list[int]) -> None:
    if sizes and sizes[-1] < 10_000:
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
