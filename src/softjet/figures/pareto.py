"""Figure of quality against size: every method at every keep ratio, beside the dense model."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from softjet.figures.style import COLOURS, new_figure, save_figure

DENSE = "dense"

METHODS = {
    "soft-threshold": ("soft threshold", COLOURS[0], "o", "-"),
    "whitened-soft-threshold": ("whitened soft threshold", COLOURS[5], "P", "-"),
    "fisher-soft-threshold": ("Fisher soft threshold", COLOURS[4], "X", "-"),
    "learned-mask": ("learned mask", COLOURS[3], "D", "-."),
    "whitened-svd": ("whitened SVD", COLOURS[1], "s", "--"),
    "fisher-svd": ("Fisher SVD", COLOURS[4], "p", (0, (3, 1))),
    "energy-svd": ("energy SVD", COLOURS[2], "^", ":"),
    "svd": ("uniform SVD", COLOURS[6], "v", (0, (5, 1, 1, 1, 1, 1))),
}
"""Name, colour, marker and line of each method; the order is that of the legend."""

SIZES = {
    "keep_linears": "parameters of the compressed matrices kept",
    "keep_blocks": "parameters of the blocks kept",
    "keep_total": "parameters of the whole model kept",
}

NARROWEST = 0.2
"""Least range of the axis of sizes."""


def draw_pareto(
    table: pd.DataFrame, target: str | Path, metric: str, size: str = "keep_total", title: str = ""
) -> None:
    """A metric against the share of parameters that stay: the values, and their change from the dense model.

    Parameters
    ----------
    table : DataFrame
        By `softjet.lowrank.compare.compare_methods`, with columns of sizes by `add_sizes`.
    target : str or path
        PNG; a PDF is written beside it.
    metric : str
        Which metric of the table.
    size : str
        Column of the share: keep_linears, keep_blocks or keep_total.
    title : str
        The model and its task.
    """
    rows = table[(table["metric"] == metric) & (table["against"] == DENSE)]
    figure, (above, below) = new_figure(2, 1, width=6.2, height=2.9, sharex=True)
    dense = rows[rows["method"] == DENSE].iloc[0]
    above.axhspan(dense["value_low"], dense["value_high"], color="0.85", label="dense, trained as long")
    above.axhline(dense["value"], color="0.4", linewidth=1)
    below.axhline(1 if dense["change_is"] == "ratio" else 0, color="0.4", linewidth=1)
    shown = [method for method in METHODS if (rows["method"] == method).any()]
    for place, method in enumerate(shown):
        own = rows[rows["method"] == method].sort_values(size)
        # Methods of one size would hide each other's intervals.
        aside = own[size] + 0.006 * (place - (len(shown) - 1) / 2)
        for panel, (value, low, high) in (
            (above, ("value", "value_low", "value_high")),
            (below, ("change", "low", "high")),
        ):
            _draw_method(panel, method, aside, own[[value, low, high]])
    _label(above, below, dense, metric, size)
    seeds = rows["seeds"].agg(["min", "max"]).tolist()
    above.set_title(f"{title}\n{_sample(int(dense['n']), *seeds)}".strip(), loc="left")
    handles, labels = above.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    save_figure(figure, target)


def _draw_method(panel: Axes, method: str, place: pd.Series, values: pd.DataFrame) -> None:
    name, colour, marker, line = METHODS[method]
    value, low, high = values.to_numpy(float).T
    panel.errorbar(
        place, value, (value - low, high - value), color=colour, marker=marker, linestyle=line, label=name,
        markersize=5, markerfacecolor="white" if method != "soft-threshold" else colour, capsize=2,
        elinewidth=1, linewidth=1.2,
    )  # fmt: skip


def _label(above: Axes, below: Axes, dense: pd.Series, metric: str, size: str) -> None:
    arrow = "higher is better" if dense["better"] == "higher" else "lower is better"
    change = "times dense" if dense["change_is"] == "ratio" else "less dense"
    above.set_ylabel(f"{metric}\n({arrow})")
    below.set_ylabel(f"{metric} {change}\n(paired)")
    below.set_xlabel(SIZES.get(size, size))
    # Ticks need not be whole percents; what they lack of a round number is of floating point.
    below.xaxis.set_major_formatter(lambda share, _: f"{round(100 * share, 6):g} %")
    for panel in (above, below):
        panel.margins(y=0.12)
    # A single keep ratio would be stretched over the whole axis.
    left, right = below.get_xlim()
    wider = max(0.0, NARROWEST - (right - left)) / 2
    below.set_xlim(left - wider, right + wider)


def _sample(n: int, fewest: int, most: int) -> str:
    seeds = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"n = {n:,} examples, {seeds} seed{'s' if most > 1 else ''}; bars and band: 95 %"
