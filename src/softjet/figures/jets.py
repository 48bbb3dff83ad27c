"""What the jets of a dataset look like: the distributions every jet physicist looks at first."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from softjet.figures.style import COLOURS, LINES, new_figure, save_figure
from softjet.jets.schema import CLASSES

SHOWN = ("QCD", "Wqq", "Hbb", "Tbqq")
"""Classes drawn of JetClass's: background, and one of two, two and three prongs at three masses."""

MASSES = {"Wqq": 80.4, "Hbb": 125.0, "Tbqq": 172.5, "Top": 172.5}
"""Mass in GeV of the particle that decays, marked where the peak should stand."""


def draw_jets(jets: pd.DataFrame, target: str | Path, classes: Sequence[str] = CLASSES) -> None:
    """Draw soft-drop mass, multiplicity, tau_21 and tau_32 of a few classes.

    Parameters
    ----------
    jets : DataFrame
        A row a jet: label, jet_sdmass (GeV), jet_nparticles, jet_tau1, jet_tau2, jet_tau3.
    target : path
        The PNG file; a PDF comes beside it.
    classes : sequence of str
        Names of the classes; a label is a place in them. Of others than JetClass's the first four are drawn.
    """
    figure, panels = new_figure(2, 2)
    mass, particles, two, three = panels.ravel()
    shown = SHOWN if set(SHOWN) <= set(classes) else tuple(classes[: len(SHOWN)])
    groups = {name: jets[jets.label == list(classes).index(name)] for name in shown}
    _draw(mass, groups, lambda jets: jets.jet_sdmass, np.linspace(0, 250, 51), "soft-drop mass [GeV]")
    marked = [name for name in shown if name in MASSES]
    for name in marked:
        mass.axvline(MASSES[name], color=COLOURS[shown.index(name)], linewidth=0.7, linestyle=":")
    _draw(
        particles, groups, lambda jets: jets.jet_nparticles, np.linspace(0, 120, 41), "particles in the jet"
    )
    edges = np.linspace(0, 1.1, 45)
    _draw(two, groups, lambda jets: _ratio(jets.jet_tau2, jets.jet_tau1), edges, r"$\tau_2 / \tau_1$")
    _draw(three, groups, lambda jets: _ratio(jets.jet_tau3, jets.jet_tau2), edges, r"$\tau_3 / \tau_2$")
    mass.legend(title="dotted: mass of what decays" if marked else None)
    save_figure(figure, target)


def _ratio(top: pd.Series, bottom: pd.Series) -> pd.Series:
    return top / bottom.where(bottom > 0)


def _draw(
    panel: Axes,
    groups: Mapping[str, pd.DataFrame],
    value: Callable[[pd.DataFrame], pd.Series],
    edges: np.ndarray,
    name: str,
) -> None:
    for place, (label, jets) in enumerate(groups.items()):
        mine = value(jets).dropna()
        if mine.empty:
            continue
        height, _ = np.histogram(mine, edges)
        density = height / len(mine) / np.diff(edges)
        legend = f"{label} (n = {len(mine)})"
        panel.stairs(
            density, edges, color=COLOURS[place], linestyle=LINES[place], label=legend, linewidth=1.6
        )
    panel.set(xlabel=name, ylabel="jets / bin width, area 1", xlim=(edges[0], edges[-1]))
