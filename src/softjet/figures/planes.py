"""Figures of where on the eta-phi plane attention goes. They take tables."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from softjet.figures.style import COLOURS, NARROWEST, new_figure, save_figure

ALL = -1

MAPS = {"observed": "trained", "untrained": "untrained", "even": "even"}
"""Columns that are densities, and their names."""

LEAST_DENSITY = 0.02
"""Density a unit of area, in units of the largest, below which a map is of one colour."""

RATIOS = LogNorm(0.25, 4.0)
"""Scale of observed / even."""

TICKS = {0.25: "¼", 0.5: "½", 1.0: "1", 2.0: "2", 4.0: "4"}

THINNEST = 0.03
"""Cells where even attention lies below this density hold so few particles that their ratio is not shown."""


MOST_LAYERS = 4
"""Layers that one figure shows; the table has all."""

FEW = 4
"""Classes below which the maps leave room between them."""

LOWEST = 2.2
"""Least height of a figure, which the name of the scale of ratios needs."""

LEAST_REACH = 2.0
"""Upper end of the axis of profiles, where no interval reaches higher."""

HEADROOM = 1.05
"""Upper end of the axis of profiles in units of the highest interval."""


def draw_planes(table: pd.DataFrame, target: str | Path) -> None:
    """Maps of the displacement from query to key by class, all layers: attention, even attention, ratio.

    Parameters
    ----------
    table : DataFrame
        By `softjet.attention.planes.planes_table`.
    target : path
        PNG; a PDF stands beside it.
    """
    numbers = [*MAPS, "n_jets"]
    cells = table.groupby(["label", "class", "y", "x"], as_index=False, observed=True)[numbers].mean()
    cells["ratio"] = cells.observed / cells.even
    classes = list(dict.fromkeys(cells["class"]))
    largest = cells[[*MAPS]].to_numpy().max()
    density = LogNorm(LEAST_DENSITY * largest, largest)
    figure, axes = new_figure(
        4, len(classes), width=1.55, height=1.5, least=(NARROWEST, LOWEST),
        squeeze=False, sharex=True, sharey=True,
    )  # fmt: skip
    for column, name in enumerate(classes):
        of_class = cells[cells["class"] == name]
        axes[0, column].set_title(name)
        for row, kind in enumerate(MAPS):
            image = _draw_map(axes[row, column], of_class, kind, density)
        ratio = _draw_map(axes[3, column], of_class, "ratio", RATIOS)
    for row, name in enumerate([*MAPS.values(), "trained / even"]):
        axes[row, 0].set_ylabel(f"{name}\n" + r"$\Delta y$")
    figure.supxlabel(r"$\Delta x$ from query to key, towards the other subjet", fontsize=10)
    bar = figure.colorbar(image, ax=axes[:3], label="weight per unit area", extend="min", pad=0.01)
    bar.ax.minorticks_off()
    _ratio_bar(figure, ratio, axes[3])
    figure.suptitle(_counts(table, "mean over layers and heads"), fontsize=9)
    _close_gaps(figure, len(classes))
    save_figure(figure, target)


def draw_planes_by_layer(table: pd.DataFrame, target: str | Path) -> None:
    """Attention over even attention on the plane, by class, in the first, the last and layers between.

    Parameters
    ----------
    table, target
        As of `draw_planes`.
    """
    classes, layers = list(dict.fromkeys(table["class"])), _some_layers(table)
    figure, axes = new_figure(
        len(layers), len(classes), width=1.4, height=1.3, least=(NARROWEST, LOWEST),
        squeeze=False, sharex=True, sharey=True,
    )  # fmt: skip
    for column, name in enumerate(classes):
        axes[0, column].set_title(name)
        for row, layer in enumerate(layers):
            cells = table[(table["class"] == name) & (table.layer == layer)]
            image = _draw_map(axes[row, column], cells, "ratio", RATIOS)
    for row, layer in enumerate(layers):
        axes[row, 0].set_ylabel(f"layer {layer}\n" + r"$\Delta y$")
    figure.supxlabel(r"$\Delta x$ from query to key, towards the other subjet", fontsize=10)
    _ratio_bar(figure, image, axes)
    figure.suptitle(_counts(table, "mean over heads"), fontsize=9)
    _close_gaps(figure, len(classes))
    save_figure(figure, target)


def _some_layers(table: pd.DataFrame) -> list[int]:
    """At most `MOST_LAYERS` layers, evenly from the first to the last."""
    layers = np.sort(table.layer.unique())
    places = np.linspace(0, len(layers) - 1, min(MOST_LAYERS, len(layers)))
    return layers[places.round().astype(int)].tolist()


def _counts(table: pd.DataFrame, over: str) -> str:
    jets = int(table.drop_duplicates("label").n_jets.sum())
    return f"{jets:,} test jets, {over}, attention to oneself left out; black line: ratio 1"


def _close_gaps(figure: Figure, classes: int) -> None:
    """Set the maps of few classes side by side: square, they do not fill a figure as wide as its title."""
    if classes < FEW:
        figure.set_layout_engine("compressed")


def _draw_map(panel: Axes, cells: pd.DataFrame, column: str, norm: Normalize) -> object:
    """One map; of ratios only where there are particles, with a line at 1."""
    values = _grid(cells, column)
    if column == "ratio":
        values = np.where(_grid(cells, "even") >= THINNEST, values, np.nan)
    else:
        values = values.clip(min=1e-12)
    centres = np.sort(cells.x.unique())
    half = (centres[1] - centres[0]) / 2
    reach = (centres[0] - half, centres[-1] + half)
    image = panel.imshow(values, norm=norm, origin="lower", extent=(*reach, *reach))
    panel.set_facecolor("0.85")
    if column == "ratio" and (np.nanmin(values) < 1 < np.nanmax(values)):
        panel.contour(centres, centres, values, levels=[1.0], colors="black", linewidths=0.6)
    panel.tick_params(which="both", length=2, labelsize=7)
    panel.minorticks_off()
    return image


def _grid(cells: pd.DataFrame, column: str) -> NDArray[np.float64]:
    return cells.pivot_table(column, "y", "x", dropna=False).to_numpy()


def _ratio_bar(figure, image, axes) -> None:  # type: ignore[no-untyped-def]
    bar = figure.colorbar(image, ax=axes, label="trained / even", extend="both", pad=0.01)
    bar.set_ticks(list(TICKS), labels=list(TICKS.values()))
    bar.ax.minorticks_off()


def draw_distance(statistics: pd.DataFrame, target: str | Path) -> None:
    """Attention over even attention against Delta R, by class, beside the untrained network.

    Parameters
    ----------
    statistics : DataFrame
        Of `softjet.attention.planes.profile`, by `softjet.attention.statistics.statistics_table`.
    target : path
        PNG; a PDF stands beside it.
    """
    rows = statistics[statistics.statistic == "distance"]
    rows = rows[(rows.layer == ALL) & (rows["head"] == ALL) & (rows.n_low == ALL)]
    labels = sorted(rows.label.unique())
    columns = min(4, len(labels))
    # Bins without an interval hold so few jets that a single one would flatten all the others.
    highest = rows.loc[rows.low.notna(), ["high", "untrained_high"]].max().max()
    figure, axes = new_figure(
        -(-len(labels) // columns), columns, width=2.6, height=2.1, squeeze=False, sharex=True, sharey=True
    )
    for panel in axes.flat[len(labels) :]:
        panel.remove()
    for panel, label in zip(axes.flat, labels, strict=False):
        _draw_profile(panel, rows[rows.label == label].sort_values("threshold"))
    axes.flat[0].set_ylim(0, np.nanmax([LEAST_REACH, HEADROOM * highest]))
    axes[0, 0].legend(loc="best", fontsize=7)
    figure.supxlabel(r"$\Delta R$ from query to key (first bin: from 0)", fontsize=10)
    figure.supylabel("attention / even attention", fontsize=10)
    bars = "; bars: 95 % over jets" if rows.low.notna().any() else ""
    figure.suptitle(f"{rows.n_jets.max():,} test jets{bars}", fontsize=9)
    save_figure(figure, target)


def _draw_profile(panel: Axes, rows: pd.DataFrame) -> None:
    edges = rows.threshold.to_numpy()
    x = np.append(edges[1] / 2**0.25, edges[1:] * 2**0.25)
    for prefix, name, colour, marker in (
        ("", "trained", COLOURS[0], "o"),
        ("untrained", "untrained", COLOURS[2], "^"),
    ):
        low, high = (rows[f"{prefix}_{end}".strip("_")] for end in ("low", "high"))
        y = rows[prefix or "value"]
        spread = np.stack([y - low, high - y]).clip(0)
        panel.errorbar(
            x, y, spread, color=colour, marker=marker, label=name, linestyle=":", linewidth=0.8,
            elinewidth=1.0, markersize=3.5,
        )  # fmt: skip
    panel.axhline(1, color="black", linewidth=0.6)
    panel.set(xscale="log", title=rows["class"].iloc[0])
