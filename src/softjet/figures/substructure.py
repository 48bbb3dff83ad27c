"""Figure of the substructure that softjet computes over that of a file."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from softjet.figures.style import COLOURS, LINES, new_figure, save_figure

NAMES = {
    "jet_sdmass": "soft-drop mass",
    "jet_tau1": r"$\tau_1$",
    "jet_tau2": r"$\tau_2$",
    "jet_tau3": r"$\tau_3$",
    "jet_tau4": r"$\tau_4$",
}
"""Names of the observables, in the order drawn."""


def draw_agreement(both: pd.DataFrame, target: str | Path) -> None:
    """Ratio of every jet with its quantiles, and the share of jets within a given difference.

    Parameters
    ----------
    both : DataFrame
        observable and ratio, a row a jet and observable, as of `compare_with_file`.
    target : str or path
        PNG; a PDF is written beside it.
    """
    figure, (left, right) = new_figure(1, 2, width=4.6, height=3.4)
    held = [name for name in NAMES if (both.observable == name).any()]
    for place, name in enumerate(held):
        ratio = both.ratio[both.observable == name].to_numpy()
        colour = COLOURS[place]
        _draw_ratios(left, ratio, place, colour)
        _draw_shares(right, ratio, f"{NAMES[name]}, n = {len(ratio)}", colour, LINES[place % len(LINES)])
    left.axvline(1, color="0.5", linewidth=0.8, zorder=0)
    left.set_yticks(range(len(held)), [NAMES[name] for name in held])
    left.tick_params(axis="y", which="both", left=False, right=False)
    left.set(xlim=(0, 2), ylim=(len(held) - 0.4, -0.6), xlabel="computed / file, a point a jet")
    right.set(xscale="log", xlim=(1e-4, 1), ylim=(0, 1))
    right.set(xlabel="largest difference |computed / file - 1|", ylabel="share of jets")
    right.legend(loc="upper left")
    save_figure(figure, target)


def _draw_ratios(panel: Axes, ratio: NDArray, place: int, colour: str) -> None:
    """Draw points, 50 % and 90 % of them as bars, and the median."""
    jitter = np.random.default_rng(place).uniform(0.12, 0.32, len(ratio))
    panel.plot(np.clip(ratio, 0, 2), place + jitter, ".", color=colour, markersize=2.5, alpha=0.6)
    low, lower, median, upper, high = np.quantile(ratio, (0.05, 0.25, 0.5, 0.75, 0.95))
    panel.plot([low, high], [place - 0.1] * 2, color=colour, linewidth=1.2)
    panel.plot([lower, upper], [place - 0.1] * 2, color=colour, linewidth=5, solid_capstyle="butt")
    panel.plot(median, place - 0.1, "|", color="black", markersize=12)
    panel.annotate(f"median {median:.3f}", (1.96, place), va="center", ha="right", fontsize=8.5)


def _draw_shares(panel: Axes, ratio: NDArray, label: str, colour: str, line: str) -> None:
    difference = np.sort(np.abs(ratio - 1))
    share = np.arange(1, len(ratio) + 1) / len(ratio)
    panel.step(np.maximum(difference, 1e-6), share, where="post", color=colour, linestyle=line, label=label)
