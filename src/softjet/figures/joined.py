"""Figure of what a Particle Transformer loses when it gets smaller, from tables alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from softjet.figures.observables import NAMES, SIGNIFICANT
from softjet.figures.style import COLOURS, new_figure, save_figure

ALL = -1
LEARNED = "soft-threshold"
BINARY = 0.8
"""Threshold of a binary query; the nearest of the table's is taken."""

OBSERVABLES = ("tau21", "tau32", "ln_sdmass", "d2")
"""Those that the figure shows: two and three prongs, mass, and D2."""

REJECTION = "rejection_"
"""How names of rejections begin in the table of the comparison, as "rejection_50 Hbb"."""

ANSWER, STATE, ATTENTION = "answer", "observable", "attention"

LOOKS: dict[str, dict[str, Any]] = {
    ANSWER: {"color": COLOURS[1], "linestyle": "--"},
    STATE: {"color": COLOURS[0], "linestyle": "-"},
    ATTENTION: {"color": COLOURS[2], "linestyle": ":"},
}
KINDS = {ANSWER: "the network's answer", STATE: "observables in the class token", ATTENTION: "attention"}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
MATRICES = ("query", "key", "value", "output")
LABEL_GAP = 0.055
"""Least distance of two labels in heights of the panel."""


def losses(compressed: pd.DataFrame, comparison: pd.DataFrame, method: str = LEARNED) -> pd.DataFrame:
    """Relative losses of a method, a row a quantity and keep ratio: what the figure and the text compare.

    Parameters
    ----------
    compressed : DataFrame
        By `softjet.attention.compressed_table.compressed_table`.
    comparison : DataFrame
        By `softjet.lowrank.compare.compare_methods`: accuracy and rejections. What could not be measured is
        left out.
    method : str

    Returns
    -------
    DataFrame
        kind ("answer", "observable", "attention"), name ("accuracy", "Hbb rejection at 50 %", the observable,
        "binary" or "agreement"), keep, value, dense, loss (share of the dense model's value), low, high, told
        (that it is lost: for the answer its whole interval is above zero, for the others also q < 0.05), n.
    """
    own = compressed[(compressed.method == method) & (compressed.seed == ALL)]
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
    """Relative loss of each quantity against the share of parameters kept, and what each head was left.

    Parameters
    ----------
    compressed, comparison : DataFrame
        As of `losses`, with learned ranks.
    target : path
        PNG; a PDF stands beside it.
    """
    figure, axes = new_figure(2, 3, width=3.5, height=2.5, width_ratios=(2.4, 1, 1))
    for panel in axes[:, 0]:
        panel.remove()
    main = figure.add_subplot(axes[0, 0].get_gridspec()[:, 0])
    table = losses(compressed, comparison)
    _draw_losses(main, table)
    keep = table.keep.min()
    heads = compressed[(compressed.method == LEARNED) & (compressed.keep == keep) & (compressed.seed == ALL)]
    _draw_heads(figure, axes[:, 1:].ravel(), heads)
    jets = f"{int(table.n[table.kind != ANSWER].max()):,} test jets"
    figure.suptitle(
        f"ranks learned by soft threshold; {jets}; bars: 95 %, filled: lost (q < {SIGNIFICANT:g}); "
        f"right: effective rank of each head at keep {keep:g}, over dense",
        fontsize=9,
    )
    save_figure(figure, target)


def _draw_losses(panel: Axes, table: pd.DataFrame) -> None:
    ends, labels = [], []
    for place, ((kind, name), rows) in enumerate(table.groupby(["kind", "name"], sort=False)):
        rows = rows.sort_values("keep", ascending=False)
        look = {**LOOKS[str(kind)], "marker": MARKERS[place % len(MARKERS)], "markersize": 5}
        x, y = np.append(1.0, rows.keep), 100 * np.append(0.0, rows.loss)
        panel.plot(x, y, fillstyle="none", **look)
        spread = 100 * np.stack([rows.loss - rows.low, rows.high - rows.loss]).clip(0)
        panel.errorbar(
            rows.keep, y[1:], spread, linestyle="none", color=look["color"], capsize=2, elinewidth=0.8
        )
        told = rows[rows.told]
        panel.plot(told.keep, 100 * told.loss, **{**look, "linestyle": "none"})
        ends.append(y[-1])
        labels.append((NAMES.get(str(name), _plain(str(name))), look["color"]))
    panel.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    smallest = table.keep.min()
    panel.set_xlim(1 + 0.03 * (1 - smallest), smallest - 0.03 * (1 - smallest))
    panel.set(xlabel="share of the parameters kept", ylabel="lost of what the dense model has (%)")
    _label_ends(panel, ends, labels)
    for kind, text in KINDS.items():
        panel.plot([], [], label=text, **LOOKS[kind])
    panel.legend(loc="upper left")


def _plain(name: str) -> str:
    return {"binary": "binary queries", "agreement": "same key as dense"}.get(name, name)


def _label_ends(panel: Axes, ends: Sequence[float], labels: Sequence[tuple[str, str]]) -> None:
    """Name every line at its end, with labels pushed apart."""
    low, high = panel.get_ylim()
    heights = spread_apart((np.asarray(ends) - low) / (high - low), LABEL_GAP)
    for end, height, (text, colour) in zip(ends, heights, labels, strict=True):
        panel.annotate(
            text,
            ((1.0, (end - low) / (high - low))),
            (1.05, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            color=colour,
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6},
            annotation_clip=False,
        )


def spread_apart(heights: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """Move heights (N,) apart to at least `gap`, in the same order, about where they were."""
    order = np.argsort(heights, kind="stable")
    moved = heights[order].astype(np.float64)
    for _ in range(10 * len(moved)):
        missing = gap - np.diff(moved)
        if (missing <= 1e-9).all():
            break
        for place in np.flatnonzero(missing > 1e-9):
            push = max(0.0, gap - (moved[place + 1] - moved[place])) / 2
            moved[place] -= push
            moved[place + 1] += push
    found = np.empty_like(moved)
    found[order] = moved
    return found


def _draw_heads(figure: Figure, panels: Sequence[Axes], rows: pd.DataFrame) -> None:
    particle = int(rows[rows.quantity == "above"].layer.max())
    ranks = rows[rows.quantity == "head_effective_rank"]
    share = (ranks.value / ranks.dense.where(ranks.dense > 0)).rename("share")
    table = ranks.assign(share=share)
    top = max(1.0, float(share.max()))
    for place, (panel, matrix) in enumerate(zip(panels, MATRICES, strict=True)):
        image = _draw_matrix(panel, table[table.detail == matrix], particle, top)
        panel.set_title(matrix, fontsize=9)
        panel.set_xlabel("head" if place > 1 else "")
        panel.set_ylabel("layer" if place % 2 == 0 else "")
    figure.colorbar(image, ax=list(panels), label="effective rank / dense", shrink=0.8)


def _draw_matrix(panel: Axes, rows: pd.DataFrame, particle: int, top: float) -> AxesImage:
    grid = rows.pivot_table("share", "layer", "head", dropna=False)
    image = panel.imshow(grid.to_numpy(float), vmin=0, vmax=top, aspect="auto", origin="lower")
    names = [str(layer) if layer <= particle else f"c{layer - particle - 1}" for layer in grid.index]
    panel.set_yticks(range(len(names)), names, fontsize=7)
    panel.set_xticks(range(grid.shape[1]), [str(head) for head in grid.columns], fontsize=7)
    panel.axhline(particle + 0.5, color="white", linewidth=1)
    panel.tick_params(which="both", length=0)
    return image
