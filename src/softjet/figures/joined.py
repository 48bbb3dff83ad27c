"""Figure of what a Particle Transformer loses when it gets smaller, from tables alone."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from softjet.config.lowrank import first_learned
from softjet.figures.observables import NAMES, SIGNIFICANT
from softjet.figures.pareto import METHODS
from softjet.figures.style import COLOURS, new_figure, save_figure

ALL = -1
BINARY = 0.8
"""Threshold of a binary query; the nearest of the table's is taken."""

OBSERVABLES = ("tau21", "tau32", "ln_sdmass", "d2")
"""Those that the figure shows: two and three prongs, mass, and D2."""

REJECTION = "rejection_"
"""How names of rejections begin in the table of the comparison, as "rejection_50 Hbb"."""

ANSWER, STATE, ATTENTION = "answer", "observable", "attention"

LOOKS = {ANSWER: COLOURS[1], STATE: COLOURS[0], ATTENTION: COLOURS[2]}
KINDS = {ANSWER: "answer", STATE: "observables", ATTENTION: "attention"}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
"""By keep ratio, from the largest."""

MATRICES = ("query", "key", "value", "output")
ROOM = 1.3
"""Reach of the axis of losses in units of the largest."""


def learned(compressed: pd.DataFrame) -> pd.DataFrame:
    """Rows of the method that figure and text are about, means over seeds: the first that learns ranks.

    Parameters
    ----------
    compressed : DataFrame
        As of `losses`.
    """
    return compressed[(compressed.method == first_learned(compressed.method)) & (compressed.seed == ALL)]


def losses(compressed: pd.DataFrame, comparison: pd.DataFrame) -> pd.DataFrame:
    """Relative losses with learned ranks, a row a quantity and keep ratio: what figure and text compare.

    Parameters
    ----------
    compressed : DataFrame
        By `softjet.attention.compressed_table.compressed_table`.
    comparison : DataFrame
        By `softjet.lowrank.compare.compare_methods`: accuracy and rejections. What could not be measured is
        left out.

    Returns
    -------
    DataFrame
        kind ("answer", "observable", "attention"), name ("accuracy", "Hbb rejection at 50 %", the observable,
        "binary" or "agreement"), keep, value, dense, loss (share of the dense model's value), low, high, told
        (that it is lost: for the answer its whole interval is above zero, for the others also q < 0.05), n.
    """
    own = learned(compressed)
    method = own.method.iloc[0]
    own = own[(own.layer == ALL) & (own["head"] == ALL)]
    binary = own[own.quantity == "above"]
    threshold = nearest_threshold(binary)
    parts = [
        (STATE, own[(own.quantity == "probe_token_within") & own.detail.isin(OBSERVABLES)], "detail"),
        (ATTENTION, binary[binary.detail == threshold].assign(quantity="binary"), "quantity"),
        (ATTENTION, own[own.quantity == "agreement"], "quantity"),
    ]
    frames = [_answers(comparison, method)]
    for kind, rows, column in parts:
        lost = (rows.loss_low > 0) & (rows.q < SIGNIFICANT)
        frame = rows.assign(kind=kind, name=rows[column], low=rows.loss_low, high=rows.loss_high, told=lost)
        frames.append(frame[frame.loss.notna()])
    columns = ["kind", "name", "keep", "value", "dense", "loss", "low", "high", "told", "n"]
    return pd.concat([frame[columns] for frame in frames if len(frame)], ignore_index=True)


def nearest_threshold(rows: pd.DataFrame) -> str:
    """The threshold of binary queries nearest to `BINARY`, as the table writes it; "" without rows."""
    return min(rows.detail.unique(), key=lambda text: abs(float(text) - BINARY), default="")


def _answers(comparison: pd.DataFrame, method: str) -> pd.DataFrame:
    rows = comparison[
        (comparison.method == method) & (comparison.against == "dense") & comparison.change.notna()
    ]
    # An AUC is close to 1 whatever happens; a share of it says nothing.
    rows = rows[(rows.metric == "accuracy") | rows.metric.str.startswith(REJECTION)]
    ratio = rows.change_is == "ratio"
    # A ratio of 0.9 and a difference of -0.1 of what the dense model has are the same loss.
    loss, low, high = (
        (1 - rows[name]).where(ratio, -rows[name] / rows.reference) for name in ("change", "high", "low")
    )
    return rows.assign(
        kind=ANSWER,
        name=rows.metric.map(_answer),
        dense=rows.reference,
        loss=loss,
        low=low,
        high=high,
        told=low > 0,
    )


def _answer(metric: str) -> str:
    """A rejection by its signal and efficiency, "Hbb rejection at 50 %"; other metrics as they are."""
    percent, _, signal = metric.removeprefix(REJECTION).partition(" ")
    return f"{signal} rejection at {percent} %" if metric.startswith(REJECTION) else metric


def draw_joined(compressed: pd.DataFrame, comparison: pd.DataFrame, target: str | Path) -> None:
    """Relative loss of each quantity at every share of parameters kept, and what each head was left.

    Parameters
    ----------
    compressed, comparison : DataFrame
        As of `losses`, with learned ranks.
    target : path
        PNG; a PDF stands beside it.
    """
    figure, axes = new_figure(2, 3, width=3.5, height=2.6, width_ratios=(2.2, 1, 1))
    for panel in axes[:, 0]:
        panel.remove()
    main = figure.add_subplot(axes[0, 0].get_gridspec()[:, 0])
    table = losses(compressed, comparison)
    _draw_losses(main, table)
    keep = table.keep.min()
    own = learned(compressed)
    _draw_heads(figure, axes[:, 1:].ravel(), own[own.keep == keep])
    name = METHODS[own.method.iloc[0]][0]
    jets = f"{int(table.n[table.kind != ANSWER].max()):,} test jets"
    figure.suptitle(
        f"ranks learned by {name}; {jets} for observables and attention; bars: 95 %, "
        f"filled: lost; right: effective rank of each head at keep {keep:g}, over dense",
        fontsize=9,
    )
    save_figure(figure, target)


def _draw_losses(panel: Axes, table: pd.DataFrame) -> None:
    """A row a quantity, and in it a marker a keep ratio, from the largest down."""
    names = table.drop_duplicates(["kind", "name"])[["kind", "name"]].to_numpy().tolist()
    keeps = sorted(table.keep.unique(), reverse=True)
    heights = np.linspace(-0.25, 0.25, len(keeps)) if len(keeps) > 1 else np.zeros(1)
    for marker, height, keep in zip(MARKERS, heights, keeps, strict=False):
        own = table[table.keep == keep].set_index(["kind", "name"])
        for place, (kind, name) in enumerate(names):
            if (kind, name) in own.index:
                _draw_loss(panel, own.loc[(kind, name)], place + height, LOOKS[kind], marker)
        panel.plot([], [], marker, color="0.2", fillstyle="none", label=f"keep {keep:g}")
    panel.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    panel.set_yticks(range(len(names)), [NAMES.get(name, _plain(name)) for _, name in names])
    for label, (kind, _) in zip(panel.get_yticklabels(), names, strict=True):
        label.set_color(LOOKS[kind])
    panel.tick_params(axis="y", which="both", length=0)
    panel.set_ylim(len(names) - 0.5, -0.5)
    _name_kinds(panel, [kind for kind, _ in names])
    # An interval of what was hardly measured would leave no room for the others: it runs out of the panel.
    widest = max(1.0, ROOM * 100 * table.loss.abs().max())
    panel.set_xlim(-widest, widest)
    panel.set_xlabel("lost of what the dense model has (%)")
    # In one line many keep ratios would be wider than the panel, and push the maps of heads aside.
    columns = len(keeps) if len(keeps) <= 3 else math.ceil(len(keeps) / 2)
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False)


def _draw_loss(panel: Axes, row: pd.Series, height: float, colour: str, marker: str) -> None:
    loss, low, high = (100 * row[name] for name in ("loss", "low", "high"))
    panel.plot([low, high], [height, height], color=colour, linewidth=1)
    face = colour if row.told else "white"
    panel.plot(loss, height, marker, color=colour, markerfacecolor=face, markersize=5)


def _name_kinds(panel: Axes, kinds: Sequence[str]) -> None:
    """Say beside the rows of a kind what they are of, with a line between kinds."""
    for kind, text in KINDS.items():
        rows = [place for place, other in enumerate(kinds) if other == kind]
        if rows:
            panel.axhline(max(rows) + 0.5, color="0.85", linewidth=0.8, zorder=0)
            panel.text(
                1.02, float(np.mean(rows)), text, color=LOOKS[kind], rotation=270, va="center", fontsize=9,
                transform=panel.get_yaxis_transform(),
            )  # fmt: skip


def _plain(name: str) -> str:
    return {"binary": "binary queries", "agreement": "same key as dense"}.get(name, name)


def _draw_heads(figure: Figure, panels: Sequence[Axes], rows: pd.DataFrame) -> None:
    particle = int(rows[rows.quantity == "above"].layer.max())
    ranks = rows[rows.quantity == "head_effective_rank"]
    share = (ranks.value / ranks.dense.where(ranks.dense > 0)).rename("share")
    table = ranks.assign(share=share)
    scale = np.floor(10 * share.min()) / 10, max(1.0, float(share.max()))
    for place, (panel, matrix) in enumerate(zip(panels, MATRICES, strict=True)):
        image = _draw_matrix(panel, table[table.detail == matrix], particle, scale)
        panel.set_title(matrix, fontsize=9)
        panel.set_xlabel("head" if place > 1 else "")
        panel.set_ylabel("layer" if place % 2 == 0 else "")
    figure.colorbar(image, ax=list(panels), label="effective rank / dense", shrink=0.8)


def _draw_matrix(panel: Axes, rows: pd.DataFrame, particle: int, scale: tuple[float, float]) -> AxesImage:
    grid = rows.pivot_table("share", "layer", "head", dropna=False)
    image = panel.imshow(grid.to_numpy(float), vmin=scale[0], vmax=scale[1], aspect="auto", origin="lower")
    names = [str(layer) if layer <= particle else f"c{layer - particle - 1}" for layer in grid.index]
    panel.set_yticks(range(len(names)), names, fontsize=7)
    panel.set_xticks(range(grid.shape[1]), [str(head) for head in grid.columns], fontsize=7)
    panel.axhline(particle + 0.5, color="white", linewidth=1)
    panel.tick_params(which="both", length=0)
    return image
