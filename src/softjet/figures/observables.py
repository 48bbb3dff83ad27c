"""Figures of linear probes and of correlations with traditional jet observables. They take tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from softjet.figures.style import COLOURS, new_figure, save_figure

SIGNIFICANT = 0.05
"""Below this q a correlation, or a difference of two, is called one."""

ALL_JETS, WITHIN = "all jets", "within classes"

NAMES = {
    "tau1": r"$\tau_1$", "tau2": r"$\tau_2$", "tau3": r"$\tau_3$", "tau4": r"$\tau_4$",
    "tau21": r"$\tau_{21}$", "tau32": r"$\tau_{32}$", "c2": r"$C_2$", "d2": r"$D_2$",
    "ln_sdmass": r"$\ln\, m_{\mathrm{SD}}$", "multiplicity": "multiplicity", "ptd": r"$p_{\mathrm{T}}D$",
}  # fmt: skip

SUMMARIES = {
    "entropy": "entropy, relative to even weights",
    "within_subjet": "weight within the query's subjet",
}
"""Attention summaries of the heat maps."""

NETWORKS: dict[str, dict[str, Any]] = {
    "trained": {"color": COLOURS[0], "linestyle": "-", "marker": "o"},
    "untrained": {"color": COLOURS[1], "linestyle": "--", "marker": "s", "fillstyle": "none"},
}

BASELINES: dict[str, dict[str, Any]] = {
    "inputs": {"color": "black", "linestyle": ":", "linewidth": 1.8},
    "class": {"color": "0.55", "linestyle": "-", "linewidth": 1.0},
}

LOWEST = -0.1
"""Below it R^2 says no more than that a probe fails."""

COLUMNS = 4


def draw_probes(table: pd.DataFrame, target: str | Path, scope: str = ALL_JETS) -> None:
    """Held-out R^2 of linear probes against depth, a panel an observable.

    Parameters
    ----------
    table : DataFrame
        By `softjet.attention.probes.probe_table`.
    target : path
        PNG; a PDF stands beside it.
    scope : "all jets" or "within classes"
        Of the rows that are drawn.
    """
    own = table[table["scope"] == scope]
    rows = -(-(len(NAMES) + 1) // COLUMNS)
    figure, axes = new_figure(rows, COLUMNS, width=2.5, height=2.0, sharex=True, sharey=True)
    for panel, (observable, name) in zip(axes.flat, NAMES.items(), strict=False):
        _draw_depths(panel, own[own.observable == observable])
        panel.set_title(name, fontsize=10)
    for panel in axes.flat[len(NAMES) :]:
        panel.set_axis_off()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes.flat[len(NAMES)].legend(handles, labels, loc="center", fontsize=9)
    for panel in axes.flat[len(NAMES) - COLUMNS : len(NAMES)]:
        panel.tick_params(axis="x", labelbottom=True)
    for panel in axes[:, 0]:
        panel.set_ylabel("held-out $R^2$")
    axes[0, 0].set_ylim(LOWEST, 1.04)
    figure.suptitle(
        f"linear probes, {scope}: fitted on {own.n_train.max():,} jets, tested on {own.n.max():,}; "
        "E: embedding, C: class token",
        fontsize=9,
    )
    save_figure(figure, target)


def _draw_depths(panel: Axes, rows: pd.DataFrame) -> None:
    for name, style in BASELINES.items():
        level = rows[rows.network == name]
        if len(level):
            panel.axhline(max(level.r2.iloc[0], LOWEST), label=name, **style)
    last = int(rows.layer.max())
    for name, style in NETWORKS.items():
        own = rows[rows.network == name]
        depth = own.layer.where(
            own.state == "layer", own.state.map({"embedding": -1, "class token": last + 1})
        )
        order = np.argsort(depth.to_numpy())
        x, value, low, high = (part.to_numpy()[order] for part in (depth, own.r2, own.low, own.high))
        spread = np.stack([value - low, high - value]).clip(0)
        panel.errorbar(x, value, spread, markersize=3.5, linewidth=1, elinewidth=0.8, label=name, **style)
    panel.set_xticks(range(-1, last + 2), ["E", *map(str, range(last + 1)), "C"], fontsize=7.5)
    panel.tick_params(axis="x", which="minor", length=0)


def draw_correlations(table: pd.DataFrame, target: str | Path, scope: str = WITHIN) -> None:
    """Heat maps, layers by observables: Spearman's rho with two attention summaries, in both networks.

    Parameters
    ----------
    table : DataFrame
        By `softjet.attention.correlations.correlation_table`.
    target : path
        PNG; a PDF stands beside it.
    scope : "all jets" or "within classes"
        Of the rows that are drawn.
    """
    own = table[table["scope"] == scope]
    figure, axes = new_figure(len(SUMMARIES), 2, width=5.0, height=3.4, sharex=True, sharey=True)
    for line, (summary, name) in zip(axes, SUMMARIES.items(), strict=True):
        rows = own[own.summary == summary]
        marks = {"rho": ("trained", True), "untrained": ("untrained", False)}
        for panel, (column, (network, compared)) in zip(line, marks.items(), strict=True):
            image = _draw_rho(panel, rows, column, compared)
            panel.set_title(f"{name}: {network}", fontsize=9)
        line[0].set_ylabel("layer")
    figure.colorbar(image, ax=axes, label=r"Spearman's $\rho$", shrink=0.7)
    figure.suptitle(
        f"{scope}, {own.n.max():,} test jets; *: differs from zero, †: from the untrained network "
        f"(q < {SIGNIFICANT:g})",
        fontsize=9,
    )
    save_figure(figure, target)


def _draw_rho(panel: Axes, rows: pd.DataFrame, column: str, compared: bool) -> AxesImage:
    grids = {
        name: rows.pivot_table(name, "layer", "observable", dropna=False)[[*NAMES]]
        for name in (column, f"{column}_q", "difference_q")
    }
    # White in the middle and a sign on each number: legible in grey.
    image = panel.imshow(grids[column], vmin=-1, vmax=1, cmap="PuOr", aspect="auto", origin="lower")
    for (layer, place), value in np.ndenumerate(grids[column].to_numpy()):
        told = {name: bool(grid.to_numpy()[layer, place] < SIGNIFICANT) for name, grid in grids.items()}
        text = f"{value:+.2f}{_marks(told, column, compared)}"
        colour = "white" if abs(value) > 0.6 else "black"
        panel.text(place, layer, text, ha="center", va="center", color=colour, fontsize=6)
    panel.set_xticks(range(len(NAMES)), [*NAMES.values()], fontsize=8, rotation=45, ha="right")
    panel.set_yticks(range(len(grids[column])), [str(layer) for layer in grids[column].index])
    panel.tick_params(which="both", length=0)
    return image


def _marks(told: Mapping[str, bool], column: str, compared: bool) -> str:
    """Star and dagger behind a number."""
    star = "*" if told[f"{column}_q"] else ""
    return star + ("†" if compared and told["difference_q"] else "")
