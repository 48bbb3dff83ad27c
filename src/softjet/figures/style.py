"""The look of every figure: the field's style, colour-blind safe, readable in greyscale."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import mplhep
from cycler import cycler
from matplotlib.figure import Figure

from softjet.provenance.files import whole_file

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, ordered so that neighbours differ in lightness."""

NARROWEST = 5.5
"""Inches that titles and legends over a whole figure need, however few panels it has."""

LINES = ("-", "--", "-.", ":")
"""Line styles that tell curves apart where colour cannot."""

TICK = 6
"""Length in points."""

DOTS_PER_INCH = 160
"""Of the PNG files."""

SEQUENTIAL = "viridis"
"""Colour map that rises in lightness, for greyscale."""


def new_figure(
    rows: int = 1,
    columns: int = 1,
    width: float = 5.0,
    height: float = 3.6,
    least: tuple[float, float] = (0.0, 0.0),
    **axes: Any,
) -> tuple:
    """Make a figure of `rows` x `columns` panels, each `width` x `height` inches; `least` of the whole.

    Returns
    -------
    figure, axes
        As of matplotlib.pyplot.subplots; `axes` options are handed through.
    """
    mpl.rcParams.update(mpl.rcParamsDefault)
    mplhep.style.use(mplhep.style.CMS)
    mpl.rcParams.update(
        {
            "font.size": 10,
            "axes.labelsize": 10,
            "axes.titlesize": 10,
            "legend.fontsize": 8.5,
            # The style's own are made for larger panels: here they would run through legends.
            "xtick.major.size": TICK,
            "ytick.major.size": TICK,
            "xtick.minor.size": TICK / 2,
            "ytick.minor.size": TICK / 2,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "lines.linewidth": 1.5,
            "axes.prop_cycle": cycler(color=COLOURS),
            "image.cmap": SEQUENTIAL,
            "figure.dpi": 100,
            "savefig.dpi": DOTS_PER_INCH,
            "svg.hashsalt": "softjet",
        }
    )
    size = max(least[0], width * columns), max(least[1], height * rows)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", **axes)


def save_figure(figure: Figure, target: str | Path) -> None:
    """Write `figure` as `target` (PNG) and, beside it, as PDF; close it."""
    target = Path(target)
    for path, metadata in (
        (target, {"Software": None}),
        (target.with_suffix(".pdf"), {"CreationDate": None}),
    ):
        with whole_file(path) as partial:
            figure.savefig(partial, metadata=metadata)
    plt.close(figure)
