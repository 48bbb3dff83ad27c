"""Figures of rank learning: ranks by layer, spectra with their cuts, the course of a run."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softjet.figures.style import COLOURS, SEQUENTIAL, new_figure, save_figure

EMBEDDINGS = "embeddings"
"""Stack of the matrices that lie in no block (`softjet.lowrank.selection`)."""

LEAST = (4.5, 2.6)
"""Least width and height of a figure of matrices, which its title and the name of its scale need."""

WIDEST = 9.0
"""Inches that the blocks of a heat map share."""

TICKS = 12
"""Most blocks named beside the colour bar of the spectra."""


def rank_grid(ranks: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Kept parameters over dense ones, and what stands in the cell, by type (rows) and block (columns).

    Parameters
    ----------
    ranks : DataFrame
        Of :func:`softjet.lowrank.learn_ranks`: stack, block, type, m, n, rank, dense, parameters.

    Returns
    -------
    share, text : DataFrame
        Rows and columns in the order of the model; the text is the rank, or "full" for a dense matrix.
    """
    table = ranks.assign(
        share=ranks["parameters"] / (ranks["m"] * ranks["n"]),
        text=np.where(ranks["dense"], "full", ranks["rank"].astype(str)),
        column=_block_names(ranks),
    )
    rows, columns = table["type"].drop_duplicates(), table["column"].drop_duplicates()
    grids = (
        table.pivot_table(index="type", columns="column", values=v, aggfunc="first")
        for v in ("share", "text")
    )
    share, text = (grid.reindex(index=rows, columns=columns) for grid in grids)
    return share, text


def draw_ranks(ranks: pd.DataFrame, target: str | Path, title: str = "") -> None:
    """Heat map of what is kept of every matrix, its rank written in the cell.

    Parameters
    ----------
    ranks : DataFrame
        As for :func:`rank_grid`.
    target : str or path
        PNG; a PDF is written beside it.
    title : str
        The model and the method.
    """
    share, text = rank_grid(ranks)
    cell = min(0.55, WIDEST / share.shape[1])
    figure, axes = new_figure(
        width=2.2 + cell * share.shape[1], height=1.4 + 0.42 * share.shape[0], least=LEAST
    )
    image = axes.imshow(share.to_numpy(float), vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(share.to_numpy(float)):
        if np.isfinite(value):
            colour = "black" if value > 0.6 else "white"
            size = min(8, 20 * cell)
            axes.text(
                column, row, text.iat[row, column], ha="center", va="center", fontsize=size, color=colour
            )
    axes.set_xticks(range(share.shape[1]), share.columns)
    axes.set_yticks(range(share.shape[0]), [_type_name(ranks, kind) for kind in share.index])
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("block")
    # From the figure's edge: names of types leave a title of the panel too little room.
    figure.suptitle(f"{title}\n{_kept_title(ranks)}".strip(), fontsize=10, ha="left", x=0.01)
    figure.colorbar(image, ax=axes, label="parameters kept / dense", pad=0.02)
    save_figure(figure, target)


def draw_spectra(ranks: pd.DataFrame, target: str | Path, title: str = "") -> None:
    """Sizes of every matrix's directions, a panel a type: solid where kept, dotted where dropped.

    Of most methods these are singular values, of whitened soft thresholds what outputs lose without them, of
    Fisher's methods what the loss does.

    Parameters
    ----------
    ranks : DataFrame
        As for :func:`rank_grid`, with learned_rank, threshold (NaN where a method learns none), scale,
        spectrum and kept.
    target : str or path
        PNG; a PDF is written beside it.
    title : str
        The model and the method.
    """
    types = ranks["type"].drop_duplicates().tolist()
    columns = min(3, len(types))
    rows = -(-len(types) // columns)
    figure, axes = new_figure(
        rows, columns, width=3.0, height=2.4, least=LEAST, sharex=True, sharey=True, squeeze=False
    )
    blocks = _block_names(ranks).drop_duplicates().tolist()
    norm = mpl.colors.Normalize(0, max(len(blocks) - 1, 1))
    for panel, kind in zip(axes.flat, types, strict=False):
        for (_, row), name in zip(*_of_type(ranks, kind), strict=True):
            _draw_spectrum(panel, row, mpl.colormaps[SEQUENTIAL](0.9 * norm(blocks.index(name))))
        panel.set_title(_type_name(ranks, kind), loc="left", fontsize=9)
        panel.set_yscale("log")
        panel.set_ylim(bottom=0.03)
    for panel in axes.flat[len(types) :]:
        panel.set_visible(False)
    figure.suptitle(title, fontsize=10, ha="left", x=0.01)
    figure.supxlabel("direction, by size, over their number", fontsize=10)
    figure.supylabel("size / scale of the matrix", fontsize=10)
    _name_blocks(figure, axes, norm, blocks)
    _explain_spectra(axes.flat[0], thresholds=bool(ranks["threshold"].notna().any()))
    save_figure(figure, target)


def _name_blocks(figure: Figure, axes: np.ndarray, norm: mpl.colors.Normalize, blocks: list[str]) -> None:
    colours = mpl.colors.ListedColormap(mpl.colormaps[SEQUENTIAL](np.linspace(0, 0.9, 256)))
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, colours), ax=axes, label="block", pad=0.01, aspect=40)
    named = range(0, len(blocks), -(-len(blocks) // TICKS))
    bar.set_ticks(list(named), labels=[blocks[i] for i in named])
    bar.minorticks_off()


def draw_budget(history: pd.DataFrame, target: str | Path, title: str = "") -> None:
    """Task loss and kept parameters against the step, with the phases apart.

    Parameters
    ----------
    history : DataFrame
        Of :func:`softjet.lowrank.learn_ranks`.
    target : str or path
        PNG; a PDF is written beside it.
    title : str
        The model and the method.
    """
    figure, (above, below) = new_figure(2, 1, width=5.5, height=2.2, sharex=True)
    above.set_title(title, loc="left")
    smooth = history.groupby("phase", sort=False)["task"].transform(
        lambda s: s.rolling(15, min_periods=1).mean()
    )
    above.plot(history["step"], history["task"], ".", color="0.7", markersize=3, label="a step")
    for i, (phase, steps) in enumerate(history.groupby("phase", sort=False)):
        above.plot(steps["step"], smooth[steps.index], color=COLOURS[i], label=f"{phase}, mean of 15")
    above.set_ylabel("task loss")
    above.set_ylim(0, 1.3 * history["task"].max())
    above.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 0.97))
    for i, (share, style) in enumerate((("linears", ":"), ("blocks", "--"), ("total", "-"))):
        last = history[f"keep_{share}"].iloc[-1]
        label = f"{share}, ends at {last:.3f}"
        below.plot(history["step"], history[f"keep_{share}"], style, color=COLOURS[i], label=label)
    learned = history.loc[history["phase"] == "learning", "step"]
    if len(learned):
        for panel in (above, below):
            panel.axvline(learned.max() + 0.5, color="0.4", linewidth=0.8)
    below.set_xlabel("step (the line: ranks are fixed)" if len(learned) else "step")
    below.set_ylabel("parameters kept / dense")
    below.set_ylim(0, 1.05)
    below.legend(loc="upper right", bbox_to_anchor=(0.98, 0.95))
    save_figure(figure, target)


def _block_names(ranks: pd.DataFrame) -> pd.Series:
    """Number of the block, led by its stack's first letter except in the first stack of blocks."""
    first = next((stack for stack in ranks["stack"] if stack != EMBEDDINGS), EMBEDDINGS)
    prefix = ranks["stack"].map(lambda stack: "" if stack == first else stack[0])
    names = prefix + (ranks["block"] + 1).astype(str)
    return names.where(ranks["stack"] != EMBEDDINGS, "emb")


def _type_name(ranks: pd.DataFrame, kind: str) -> str:
    """The type, of an embedding table the last part of its path, and its size."""
    row = ranks[ranks["type"] == kind].iloc[0]
    name = kind.rpartition(".")[2] if row["stack"] == EMBEDDINGS else kind
    return f"{name}  {row['m']}×{row['n']}"


def _of_type(ranks: pd.DataFrame, kind: str) -> tuple[list[tuple], pd.Series]:
    chosen = ranks["type"] == kind
    return list(ranks[chosen].iterrows()), _block_names(ranks)[chosen]


def _draw_spectrum(panel: Axes, row: pd.Series, colour: tuple) -> None:
    values = np.asarray(row["spectrum"], float) / row["scale"]
    place, kept = np.arange(1, len(values) + 1) / len(values), np.asarray(row["kept"], bool)
    panel.plot(place, values, ":", color=colour, linewidth=0.9)
    # A line does not show a direction whose neighbours are dropped.
    dot = "" if kept[: kept.sum()].all() else "."
    panel.plot(
        place, np.where(kept, values, np.nan), "-", marker=dot, markersize=3, color=colour, linewidth=1.2
    )
    if not row["dense"]:
        last = np.flatnonzero(kept)[-1]
        panel.plot(place[last], values[last], "o", color=colour, markersize=3.5)
    if pd.notna(row["threshold"]):
        panel.plot(row["learned_rank"] / len(values), row["threshold"], "_", color=colour, markersize=9)


def _explain_spectra(panel: Axes, thresholds: bool) -> None:
    entries = [("kept", "-", "", 0), ("dropped", ":", "", 0), ("smallest kept", "", "o", 3.5)]
    entries += [("threshold", "", "_", 9)] if thresholds else []
    for label, line, marker, size in entries:
        panel.plot(
            [], [], linestyle=line, marker=marker, markersize=size, color="0.2", linewidth=1.2, label=label
        )
    panel.legend(loc="lower left", bbox_to_anchor=(0.02, 0.08), handlelength=1.6, fontsize=7.5)


def _kept_title(ranks: pd.DataFrame) -> str:
    kept, dense = ranks["parameters"].sum(), (ranks["m"] * ranks["n"]).sum()
    many = "1 matrix" if len(ranks) == 1 else f"{len(ranks)} matrices"
    return f"{many}: {kept / 1e6:.2f} M of {dense / 1e6:.2f} M parameters ({kept / dense:.0%})"
