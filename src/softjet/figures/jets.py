"""What the jets of a dataset look like: the distributions every jet physicist looks at first."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from softjet.figures.style import COLOURS, LINES, new_figure, save_figure
from softjet.jets.schema import CLASSES

SHOWN = ("QCD", "Wqq", "Hbb", "Tbqq")
"""Classes drawn: background, and one of two, two and three prongs at three masses."""

MASSES = {"Wqq": 80.4, "Hbb": 125.0, "Tbqq": 172.5}
"""Mass in GeV of the particle that decays, marked where the peak should stand."""


def draw_jets(jets: pd.DataFrame, target: str | Path) -> None:
    """Draw soft-drop mass, multiplicity, tau_21 and tau_32 of a few classes.

    Parameters
    ----------
    jets : DataFrame
        A row a jet: label, jet_sdmass (GeV), jet_nparticles, jet_tau1, jet_tau2, jet_tau3.
    target : path
        The PNG file; a PDF comes beside it.
    """
    figure, panels = new_figure(2, 2)
    mass, particles, two, three = panels.ravel()
    _draw(mass, jets, jets.jet_sdmass, np.linspace(0, 250, 51), "soft-drop mass [GeV]")
    for name, value in MASSES.items():
        mass.axvline(value, color=COLOURS[SHOWN.index(name)], linewidth=0.7, linestyle=":")
    _draw(particles, jets, jets.jet_nparticles, np.linspace(0, 120, 41), "particles in the jet")
    _draw(two, jets, _ratio(jets.jet_tau2, jets.jet_tau1), np.linspace(0, 1.1, 45), r"$\tau_2 / \tau_1$")
    _draw(three, jets, _ratio(jets.jet_tau3, jets.jet_tau2), np.linspace(0, 1.1, 45), r"$\tau_3 / \tau_2$")
    mass.legend(title="dotted: mass of W, H, top")
    save_figure(figure, target)


def _ratio(top: pd.Series, bottom: pd.Series) -> pd.Series:
    return top / bottom.where(bottom > 0)


def _draw(panel: Axes, jets: pd.DataFrame, values: pd.Series, edges: np.ndarray, name: str) -> None:
    for place, label in enumerate(SHOWN):
        mine = values[jets.label == CLASSES.index(label)].dropna()
        if mine.empty:
            continue
        height, _ = np.histogram(mine, edges)
        density = height / len(mine) / np.diff(edges)
        legend = f"{label} (n = {len(mine)})"
        panel.stairs(
            density, edges, color=COLOURS[place], linestyle=LINES[place], label=legend, linewidth=1.6
        )
    panel.set(xlabel=name, ylabel="jets / bin width, area 1", xlim=(edges[0], edges[-1]))
