"""Figures of what attention focuses on: kinds of particles, subjets, partners, pair features."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from softjet.figures.style import COLOURS, NARROWEST, new_figure, save_figure

ALL = -1

KINDS = {
    "to_hardest": "to the hardest",
    "to_lepton": "to leptons",
    "to_photon": "to photons",
    "to_displaced": "to displaced tracks",
    "to_heavy": "to b, c products (truth)",
}
"""Statistics of `softjet.attention.focus` about kinds of particles, and their names."""

GROUPS = {
    "mass_subjet": "weight within kT subjets",
    "argmax_subjet": "largest weight within kT subjets",
    "mass_prong": "weight within prongs (truth)",
    "argmax_prong": "largest weight within prongs (truth)",
}

PARTNERS = {
    "sibling": "sibling (truth)",
    "kt": "kT partner",
    "cambridge_aachen": "Cambridge/Aachen partner",
    "nearest": "nearest neighbour",
    "hardest": "hardest particle",
}

CONTRIBUTIONS = {
    "shapley_kt": r"$\ln k_T$",
    "shapley_z": r"$\ln z$",
    "shapley_delta": r"$\ln \Delta$",
    "shapley_m2": r"$\ln m^2$",
    "qk_rise": "QK",
}
"""Statistics of `softjet.attention.attribution`, and their names."""

MARKERS = ("o", "s", "^", "D", "P")


class Series(NamedTuple):
    """Points: ending of the statistic's name, column, name, colour, marker."""

    ending: str
    column: str
    name: str
    colour: str
    marker: str


TRAINED = Series("", "value", "trained", COLOURS[0], "o")
UNTRAINED = Series("", "untrained", "untrained", COLOURS[2], "^")
EVEN = Series("", "null", "even share", COLOURS[1], "s")
BY_PT = Series("_pt", "null", r"$p_T$ share", COLOURS[3], "D")
BLIND = EVEN._replace(name="random choice")
MATCHED = EVEN._replace(name=r"random key of the same $\Delta R$")


def draw_focus(statistics: pd.DataFrame, target: str | Path) -> None:
    """Share of the weight on other particles that each kind receives, by class, beside the nulls.

    Parameters
    ----------
    statistics : DataFrame
        Of `softjet.attention.focus`, by `softjet.attention.statistics.statistics_table`.
    target : path
        PNG; a PDF stands beside it.
    """
    _draw_by_class(statistics, KINDS, (TRAINED, EVEN, BY_PT, UNTRAINED), target)


def draw_subjets(statistics: pd.DataFrame, target: str | Path) -> None:
    """Attention within subjets and prongs by class, beside what a random choice gives.

    Parameters
    ----------
    statistics, target
        As of `draw_focus`.
    """
    _draw_by_class(statistics, GROUPS, (TRAINED, BLIND, UNTRAINED), target)


def draw_focus_by_layer(statistics: pd.DataFrame, target: str | Path) -> None:
    """How many times the even share each kind receives, and the random share stays within, class by layer.

    Parameters
    ----------
    statistics, target
        As of `draw_focus`.
    """
    rows = statistics[(statistics["head"] == ALL) & (statistics.n_low == ALL)]
    rows = rows[rows.layer != ALL].assign(times=rows.value / rows.null)
    panels = present(rows, KINDS | GROUPS)
    columns = min(3, len(panels))
    figure, axes = new_figure(-(-len(panels) // columns), columns, width=3.6, height=2.9, squeeze=False)
    for panel in axes.flat[len(panels) :]:
        panel.remove()
    for panel, (name, title) in zip(axes.flat, panels.items(), strict=False):
        image = _draw_times(panel, rows[rows.statistic == name], title)
    # The figure's own list, which no longer holds the panels that were removed.
    bar = figure.colorbar(image, ax=figure.axes, extend="both")
    bar.set_label("attention / even share or random choice")
    bar.set_ticks([0.5, 1, 2, 4], labels=["½", "1", "2", "4"])
    bar.ax.minorticks_off()
    figure.supxlabel("layer", fontsize=10)
    save_figure(figure, target)


def _draw_times(panel: Axes, rows: pd.DataFrame, title: str) -> object:
    names = rows.drop_duplicates("label").set_index("label")["class"]
    order = [label for label in sorted(names.index) if label != ALL] + [ALL]
    times = rows.pivot_table("times", "label", "layer", dropna=False).reindex(order)
    image = panel.imshow(times, norm=LogNorm(0.5, 4), aspect="auto")
    for (row, layer), value in np.ndenumerate(times.to_numpy()):
        if np.isfinite(value):
            colour = "white" if value < 1.4 else "black"
            panel.text(layer, row, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=6.5)
    panel.set_xticks(range(times.shape[1]), times.columns)
    panel.set_yticks(range(len(order)), names[order], fontsize=7)
    panel.set_title(title)
    panel.tick_params(which="both", length=0)
    return image


def draw_partners(statistics: pd.DataFrame, target: str | Path) -> None:
    """How often the largest weight is on each partner, by layer, beside a key of the same distance.

    Parameters
    ----------
    statistics : DataFrame
        Of `softjet.attention.partners`, by `softjet.attention.statistics.statistics_table`.
    target : path
        PNG; a PDF stands beside it.
    """
    rows = _layers(statistics)
    names = present(rows, PARTNERS)
    if not names:
        _draw_nothing(target, "no largest weight is on another particle")
        return
    rows = rows[rows.statistic.isin(names)]
    figure, axes = new_figure(1, len(names), width=2.9, height=2.9, least=(NARROWEST, 0), squeeze=False)
    for panel, (name, title) in zip(axes.flat, names.items(), strict=True):
        of_name = rows[rows.statistic == name].sort_values("layer")
        for shift, series in zip((-0.15, 0, 0.15), (TRAINED, MATCHED, UNTRAINED), strict=True):
            y, spread = _points(of_name, series, 100)
            panel.errorbar(
                of_name.layer + shift, y, spread, color=series.colour, marker=series.marker,
                label=series.name, linestyle=":", linewidth=0.8, elinewidth=1.2, markersize=4.5,
            )  # fmt: skip
        panel.set(title=title, xlabel="layer", xticks=sorted(of_name.layer), ylim=(0, None))
        panel.tick_params(axis="x", which="minor", length=0)
    axes[0, 0].set_ylabel("largest weights on it (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle(_counts(rows), fontsize=9)
    save_figure(figure, target)


def draw_attribution(statistics: pd.DataFrame, target: str | Path) -> None:
    """What raises the logit of the winning key, by layer, and by head over all layers.

    Filled: trained; open: untrained.

    Parameters
    ----------
    statistics : DataFrame
        Of `softjet.attention.attribution`, by `softjet.attention.statistics.statistics_table`.
    target : path
        PNG; a PDF stands beside it.
    """
    statistics = statistics[statistics.statistic.isin(CONTRIBUTIONS)]
    figure, axes = new_figure(1, 2, width=4.6, height=3.4, sharey=True)
    layers, heads = _layers(statistics), by_head(statistics)
    for panel, rows, axis in zip(axes, (layers, heads), ("layer", "head"), strict=True):
        for place, (name, title) in enumerate(CONTRIBUTIONS.items()):
            of_name = rows[rows.statistic == name].sort_values(axis)
            _draw_contribution(panel, of_name, axis, place, title)
        panel.axhline(0, color="black", linewidth=0.6)
        panel.set(xlabel=axis, xticks=sorted(rows[axis].unique()))
        panel.tick_params(axis="x", which="minor", length=0)
    axes[0].set_ylabel("mean contribution to the winning logit")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(CONTRIBUTIONS))
    figure.suptitle(f"{_counts(layers)}; open: untrained", fontsize=9)
    save_figure(figure, target)


def _draw_contribution(panel: Axes, rows: pd.DataFrame, axis: str, place: int, title: str) -> None:
    shift = 0.12 * (place - 2)
    for series, filled in ((TRAINED, True), (UNTRAINED, False)):
        y, spread = _points(rows, series, 1)
        panel.errorbar(
            rows[axis] + shift, y, spread, color=COLOURS[place], marker=MARKERS[place], linestyle="none",
            markersize=4.5, elinewidth=1, markerfacecolor=COLOURS[place] if filled else "white",
            label=title if filled else None,
        )  # fmt: skip


def by_head(statistics: pd.DataFrame) -> pd.DataFrame:
    """Values of each head over all layers and classes, a row a statistic and head; without intervals.

    Parameters
    ----------
    statistics : DataFrame
        By `softjet.attention.statistics.statistics_table`, of shares and means that layers add up to.
    """
    cells = statistics[(statistics["head"] != ALL) & (statistics.label == ALL)].copy()
    numbers = ["value", "untrained"]
    cells[numbers] = cells[numbers].mul(cells.denominator, axis=0)
    summed = cells.groupby(["statistic", "head"], as_index=False)[[*numbers, "denominator"]].sum()
    summed[numbers] = summed[numbers].div(summed.denominator, axis=0)
    ends = [f"{name}_{end}".removeprefix("value_") for name in numbers for end in ("low", "high")]
    return summed.assign(**dict.fromkeys(ends, np.nan))


def _draw_by_class(
    statistics: pd.DataFrame, names: Mapping[str, str], series: Sequence[Series], target: str | Path
) -> None:
    rows = statistics[(statistics.layer == ALL) & (statistics["head"] == ALL) & (statistics.n_low == ALL)]
    names = present(rows, names)
    rows = rows[rows.statistic.str.removesuffix("_pt").isin(names) & rows.value.notna()]
    if rows.empty:
        _draw_nothing(target, "these jets have no two subjets or prongs")
        return
    classes = rows.drop_duplicates("label").sort_values("label")
    order = {label: -place for place, label in enumerate([*classes.label[classes.label != ALL], ALL])}
    figure, axes = new_figure(
        1, len(names), width=2.7, height=3.6, least=(NARROWEST, 0), squeeze=False, sharey=True
    )
    for panel, (name, title) in zip(axes.flat, names.items(), strict=True):
        for shift, one in zip(np.linspace(0.22, -0.22, len(series)), series, strict=True):
            of_name = rows[rows.statistic == name + one.ending]
            x, spread = _points(of_name, one, 100)
            panel.errorbar(
                x, of_name.label.map(order) + shift, xerr=spread, color=one.colour, marker=one.marker,
                label=one.name, linestyle="none", markersize=4.5, elinewidth=1.2,
                markerfacecolor=one.colour if one.column == "value" else "white",
            )  # fmt: skip
        panel.set(title=title, xlabel="share (%)", xlim=(0, None))
        panel.tick_params(axis="y", which="minor", length=0)
        panel.grid(axis="y", linewidth=0.3)
    axes[0, 0].set_yticks(list(order.values()), [*classes["class"][classes.label != ALL], "all"], fontsize=8)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(series))
    figure.suptitle(f"{_counts(rows)}, all layers and heads", fontsize=9)
    save_figure(figure, target)


def _draw_nothing(target: str | Path, why: str) -> None:
    figure, axes = new_figure(width=6.0, height=1.2)
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center", transform=axes.transAxes)
    save_figure(figure, target)


def present(rows: pd.DataFrame, names: Mapping[str, str]) -> dict[str, str]:
    """Those of some statistics, with their titles, that have a value in a table."""
    found = set(rows.statistic[rows.value.notna()])
    return {name: title for name, title in names.items() if name in found}


def _layers(statistics: pd.DataFrame) -> pd.DataFrame:
    """Rows about one layer each, over all heads, classes and multiplicities."""
    every = (statistics[["head", "label", "n_low"]] == ALL).all(axis=1)
    return statistics[every & (statistics.layer != ALL)]


def _points(rows: pd.DataFrame, series: Series, scale: float) -> tuple[pd.Series, np.ndarray]:
    """Values and the lengths of their bars, (2, rows)."""
    prefix = "" if series.column == "value" else f"{series.column}_"
    y = scale * rows[series.column]
    ends = [scale * rows[f"{prefix}{end}"] for end in ("low", "high")]
    return y, np.stack([y - ends[0], ends[1] - y]).clip(0)


def _counts(rows: pd.DataFrame) -> str:
    bars = "; bars: 95 % over jets" if rows.low.notna().any() else ""
    return f"{rows.n_jets.max():,} test jets{bars}"
