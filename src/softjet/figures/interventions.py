"""Figures of what interventions on attention and top-k attention change. They take tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm

from softjet.figures.style import COLOURS, LINES, new_figure, save_figure

ALL = -1

SIGNIFICANT = 0.05
"""Below this q a difference is called one."""

NAMES = {
    "argmax": "largest edge cut",
    "between": "edges between subjets cut",
    "within": "edges within subjets cut",
    "patch_same": "weights of another jet, same class",
    "patch_other": "weights of another jet, other class",
}

METRICS = {"true_logit": "change of true logit", "accuracy": "change of accuracy"}


class _Series(NamedTuple):
    """A curve: which network and column, its name and how it looks."""

    network: str
    arm: str
    name: str
    colour: str
    marker: str
    fill: str


SERIES = (
    _Series("trained", "change", "the change", COLOURS[0], "o", "full"),
    _Series("trained", "control", "its control", COLOURS[1], "s", "none"),
    _Series("untrained", "change", "the change, untrained network", COLOURS[2], "^", "full"),
)


def draw_interventions(table: pd.DataFrame, target: str | Path) -> None:
    """Change of true logit and accuracy by layer, beside its control and no training.

    Parameters
    ----------
    table : DataFrame
        By `softjet.attention.effects.effects`, with network ("trained", "untrained").
    target : path
        PNG; a PDF stands beside it.
    """
    rows = table[(table["head"] == ALL) & (table.label == ALL)]
    figure, axes = new_figure(len(NAMES), len(METRICS), width=4.0, height=1.75, sharex=True)
    for line, (intervention, name) in zip(axes, NAMES.items(), strict=True):
        for panel, metric in zip(line, METRICS, strict=True):
            chosen = rows[(rows.metric == metric) & (rows.intervention == intervention)]
            _draw_layers(panel, chosen.sort_values("layer"))
            panel.set_title(name, fontsize=9)
    for panel, title in zip(axes[0], METRICS.values(), strict=True):
        panel.set_title(f"{title}\n{panel.get_title()}", fontsize=9)
    for panel in axes[-1]:
        panel.set_xlabel("layer")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(SERIES), fontsize=9
    )
    n = int(rows[rows.metric == "true_logit"].n_jets.max())
    figure.suptitle(f"{n:,} test jets; bars: 95 % over jets; at the right all layers at once", fontsize=9)
    save_figure(figure, target)


def _draw_layers(panel: Axes, rows: pd.DataFrame) -> None:
    layers = sorted(rows.layer[rows.layer != ALL].unique())
    everywhere = len(layers) + 0.5
    for shift, series in zip((-0.2, 0, 0.2), SERIES, strict=True):
        own = rows[rows.network == series.network]
        place = own.layer.where(own.layer != ALL, everywhere) + shift
        value, low, high = (own[f"{series.arm}{end}"] for end in ("", "_low", "_high"))
        panel.errorbar(
            place, value, np.stack([value - low, high - value]).clip(0), linestyle="none", markersize=4.5,
            marker=series.marker, color=series.colour, fillstyle=series.fill, elinewidth=1, label=series.name,
        )  # fmt: skip
    panel.axhline(0, color="black", linewidth=0.6)
    panel.axvline(everywhere - 0.75, color="grey", linewidth=0.6, linestyle=":")
    panel.set_xticks([*layers, everywhere], [*map(str, layers), "all"])
    panel.tick_params(axis="x", which="minor", length=0)


def draw_silenced(table: pd.DataFrame, target: str | Path) -> None:
    """Heat map, heads by layers: change of the true logit by silencing a head, less its random control.

    Parameters
    ----------
    table : DataFrame
        As for `draw_interventions`.
    target : path
        PNG; a PDF stands beside it.
    """
    rows = _heads(table)
    grid = rows.pivot_table("difference", "layer", "head", dropna=False)
    told = (rows.pivot_table("q", "layer", "head", dropna=False) < SIGNIFICANT).to_numpy()
    reach = max(float(grid.abs().to_numpy().max()), 1e-6)
    figure, panel = new_figure(width=5.6, height=4.4)
    # White in the middle and a sign on each number: legible in grey.
    image = panel.imshow(
        grid, norm=TwoSlopeNorm(0, -reach, reach), cmap="PuOr", aspect="auto", origin="lower"
    )
    for (layer, head), value in np.ndenumerate(grid.to_numpy()):
        mark = "*" if told[layer, head] else ""
        colour = "white" if abs(value) > 0.5 * reach else "black"
        panel.text(head, layer, f"{value:+.2f}{mark}", ha="center", va="center", color=colour, fontsize=7.5)
    panel.set(xlabel="head", ylabel="layer", xticks=grid.columns, yticks=grid.index)
    panel.tick_params(which="both", length=0)
    figure.colorbar(image, label="change of true logit, less random edges'")
    figure.suptitle(
        f"single heads silenced, {rows.n_jets.iloc[0]:,} test jets; *: q < {SIGNIFICANT:g}", fontsize=9
    )
    save_figure(figure, target)


def _heads(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of single heads of the trained network, over all classes."""
    rows = table[(table.intervention == "head") & (table.label == ALL) & (table.metric == "true_logit")]
    return rows[rows.network == "trained"]


def draw_topk(table: pd.DataFrame, target: str | Path) -> None:
    """Change of accuracy, ratio of rejections and ratio of times against k.

    Parameters
    ----------
    table : DataFrame
        By `softjet.attention.topk`, with weights ("as trained", "fine-tuned").
    target : path
        PNG; a PDF stands beside it.
    """
    figure, (accuracy, rejection, time) = new_figure(1, 3, width=3.5, height=3.8)
    for place, (weights, rows) in enumerate(table[table.metric == "accuracy"].groupby("weights", sort=False)):
        _draw_against_k(accuracy, rows, str(weights), place)
    quoted = table[table.metric.str.startswith("rejection") & table.change.notna()]
    curves = quoted[quoted.weights == "as trained"].groupby(["class", "metric"], sort=False)
    for place, ((name, metric), rows) in enumerate(curves):
        _draw_against_k(rejection, rows, f"{name}, {str(metric).removeprefix('rejection_')} %", place)
    _draw_against_k(time, table[table.metric == "time"], "masked softmax", 0)
    accuracy.set(ylabel="change of accuracy")
    rejection.set(ylabel="ratio of rejections")
    time.set(ylabel="ratio of times (above 1: slower)")
    if quoted.empty:
        _say(rejection, _why_no_rejection(table))
    if table.change[table.metric == "time"].isna().all():
        _say(time, "not measured:\nthe machine was too noisy")
    for panel, level in ((accuracy, 0), (rejection, 1), (time, 1)):
        _finish(panel, level, sorted(table.k.unique()))
    for panel, metric, what in (
        (accuracy, "accuracy", "test jets"),
        (rejection, "rejection", "background jets"),
        (time, "time", "pairs of calls"),
    ):
        _count(panel, table[table.metric.str.startswith(metric)], what)
    figure.suptitle("bars: 95 % over jets, of times over pairs of calls", fontsize=9)
    save_figure(figure, target)


def _why_no_rejection(table: pd.DataFrame) -> str:
    """Without a background class the table has no rows of rejections."""
    if table.metric.str.startswith("rejection").any():
        return "not measured:\ntoo few jets above or below the cut"
    return "no background class"


def _count(panel: Axes, rows: pd.DataFrame, what: str) -> None:
    """Say how many of what a panel is measured on, where it is."""
    if len(rows):
        panel.set_title(f"{rows.n.max():,} {what}", fontsize=9)


def _say(panel: Axes, why: str) -> None:
    """Say in an empty panel why it is empty."""
    panel.text(0.5, 0.6, why, ha="center", va="center", transform=panel.transAxes, fontsize=9)
    panel.set_yticks([])


def _draw_against_k(panel: Axes, rows: pd.DataFrame, name: str, place: int) -> None:
    rows = rows.sort_values("k")
    spread = np.stack([rows.change - rows.low, rows.high - rows.change]).clip(0)
    x = rows.k * 1.06 ** (place % 5)
    panel.errorbar(
        x, rows.change, spread, marker="os^Dv"[place % 5], color=COLOURS[place % len(COLOURS)],
        linestyle=LINES[place % len(LINES)], markersize=4.5, elinewidth=1, linewidth=1, label=name,
    )  # fmt: skip


def _finish(panel: Axes, level: float, kept: Sequence[int]) -> None:
    panel.axhline(level, color="black", linewidth=0.6)
    panel.set_xscale("log", base=2)
    panel.set_xticks(kept, list(map(str, kept)))
    panel.tick_params(axis="x", which="minor", length=0)
    panel.set(xlabel="weights kept of each query", xlim=(min(kept) / 1.4, max(kept) * 1.6))
    if panel.get_legend_handles_labels()[0]:
        # Below the panel: with a curve a class there is no free corner in it.
        panel.legend(fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, frameon=False)
