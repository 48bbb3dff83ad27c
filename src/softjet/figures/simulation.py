"""Simulated jets beside reference jets: multiplicity, jet mass and constituent pT of each class.

Both sides are plain columns, so that anyone can compare with JetClass files of his own: a mapping with
`label` (n_jets,) and the lists `part_px`, `part_py`, `part_pz`, `part_energy` (n_jets, var) in GeV, say
an Awkward array read from ROOT or Parquet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import awkward as ak
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from softjet.figures.style import COLOURS, LINES, new_figure, save_figure
from softjet.jets.schema import CLASSES

RESAMPLES = 1000
PERMUTATIONS = 400
SHOWN = ("QCD", "Wqq", "Hbb", "Tbqq")
"""Classes whose masses are drawn."""


@dataclass(frozen=True)
class Observables:
    """Of the jets of one class: multiplicity and mass (GeV) of each, and pT (GeV) of its particles."""

    multiplicity: NDArray[np.int64]
    mass: NDArray[np.float64]
    constituent_pt: ak.Array


def observables(jets: Mapping, label: int | None = None) -> Observables:
    """Observables of the jets with this label, or of all."""
    px, py, pz, e = (
        ak.values_astype(jets[f"part_{axis}"], np.float64) for axis in ("px", "py", "pz", "energy")
    )
    if label is not None:
        chosen = np.asarray(jets["label"]) == label
        px, py, pz, e = px[chosen], py[chosen], pz[chosen], e[chosen]
    mass2 = ak.sum(e, axis=1) ** 2 - sum(ak.sum(axis, axis=1) ** 2 for axis in (px, py, pz))
    mass = np.sqrt(np.maximum(ak.to_numpy(mass2), 0))
    return Observables(ak.to_numpy(ak.num(px)), mass, np.hypot(px, py))


def compare(simulated: Mapping, reference: Mapping, seed: int = 0) -> pd.DataFrame:
    """Compare jets of each class.

    Parameters
    ----------
    simulated, reference : mapping
        Columns `label`, `part_px`, `part_py`, `part_pz`, `part_energy`.
    seed : int
        Of the resampling.

    Returns
    -------
    DataFrame
        A row a class with jets on both sides, and the row "all", where the simulated classes are mixed as in
        the reference: class, n_simulated, n_reference, mean multiplicity of both and their ratio with 95 %
        bootstrap intervals over jets (columns *_low, *_high), mass_ks and mass_p of jet masses, pt_ks and
        pt_p of constituent pT.

    Notes
    -----
    The particles of a jet are not independent, so pt_p comes from shuffling whole jets between both
    sides, not from the formula for independent draws. "all" has no Kolmogorov-Smirnov columns.
    """
    rng = np.random.default_rng(seed)
    labels = sorted(
        set(np.asarray(simulated["label"]).tolist()) & set(np.asarray(reference["label"]).tolist())
    )
    pairs = {
        CLASSES[label]: (observables(simulated, label), observables(reference, label)) for label in labels
    }
    rows: list[dict[str, object]] = []
    draws: list[tuple[int, NDArray, NDArray]] = []
    for name, (mine, other) in pairs.items():
        means = _bootstrap_means(mine.multiplicity, rng), _bootstrap_means(other.multiplicity, rng)
        draws.append((len(other.multiplicity), *means))
        rows.append(_multiplicities(name, mine, other, *means) | _distances(mine, other, rng))
    rows.append(_mixed(pd.DataFrame(rows), draws))
    return pd.DataFrame(rows)


def _bootstrap_means(values: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    return np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)])


def _interval(name: str, value: float, draws: NDArray) -> dict[str, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _multiplicities(
    name: str, mine: Observables, other: Observables, mine_draws: NDArray, other_draws: NDArray
) -> dict[str, object]:
    simulated, reference = mine.multiplicity.mean(), other.multiplicity.mean()
    return {
        "class": name,
        "n_simulated": len(mine.multiplicity),
        "n_reference": len(other.multiplicity),
        **_interval("simulated", simulated, mine_draws),
        **_interval("reference", reference, other_draws),
        **_interval("ratio", simulated / reference, mine_draws / other_draws),
    }


def _mixed(rows: pd.DataFrame, draws: list[tuple[int, NDArray, NDArray]]) -> dict[str, object]:
    """Give the row of all classes, mixed in the reference's numbers."""
    weight = rows.n_reference / rows.n_reference.sum()
    simulated, reference = (weight * rows.simulated).sum(), (weight * rows.reference).sum()
    mine = np.average([one[1] for one in draws], axis=0, weights=[one[0] for one in draws])
    other = np.average([one[2] for one in draws], axis=0, weights=[one[0] for one in draws])
    return {
        "class": "all",
        "n_simulated": rows.n_simulated.sum(),
        "n_reference": rows.n_reference.sum(),
        **_interval("simulated", simulated, mine),
        **_interval("reference", reference, other),
        **_interval("ratio", simulated / reference, mine / other),
    }


def _distances(mine: Observables, other: Observables, rng: np.random.Generator) -> dict[str, float]:
    mass = ks_2samp(mine.mass, other.mass)
    distance, p = _jetwise_ks(mine.constituent_pt, other.constituent_pt, rng)
    return {"mass_ks": mass.statistic, "mass_p": mass.pvalue, "pt_ks": distance, "pt_p": p}


def _jetwise_ks(mine: ak.Array, other: ak.Array, rng: np.random.Generator) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance of particles, and its p-value under shuffling of jets."""
    both = ak.concatenate([mine, other])
    jet = np.repeat(np.arange(len(both)), ak.to_numpy(ak.num(both)))
    jet = jet[np.argsort(ak.to_numpy(ak.flatten(both)), kind="stable")]
    is_mine = np.arange(len(both)) < len(mine)
    found = _ks(is_mine[jet])
    shuffled = [_ks(rng.permutation(is_mine)[jet]) for _ in range(PERMUTATIONS)]
    return found, (1 + np.sum(np.array(shuffled) >= found)) / (1 + PERMUTATIONS)


def _ks(first: NDArray[np.bool_]) -> float:
    """Largest distance of two distribution functions; `first` tells the sample of each sorted value."""
    a = np.cumsum(first) / first.sum()
    b = np.cumsum(~first) / (~first).sum()
    return float(np.abs(a - b).max())


def draw_comparison(simulated: Mapping, reference: Mapping, target: str | Path, seed: int = 0) -> None:
    """Draw multiplicity by class, constituent pT, and the jet mass of four classes.

    Parameters
    ----------
    simulated, reference : mapping
        As of `compare`.
    target : path
        The PNG file; a PDF comes beside it.
    seed : int
        Of the bootstrap.
    """
    figure, panels = new_figure(2, 3, width=4.2, height=3.2)
    _draw_multiplicity(panels[0, 0], compare(simulated, reference, seed))
    edges = np.geomspace(0.3, 500, 33)
    _draw_spectra(panels[0, 1], _mix(simulated, reference), observables(reference), edges)
    places = (panels[0, 2], *panels[1])
    for panel, name in zip(places, SHOWN, strict=True):
        label = CLASSES.index(name)
        _draw_masses(panel, observables(simulated, label), observables(reference, label), name)
    save_figure(figure, target)


def _draw_multiplicity(panel: Axes, table: pd.DataFrame) -> None:
    place = np.arange(len(table))
    panel.axhspan(0.9, 1.1, color="0.9", zorder=0, label="within 10 %")
    panel.axhline(1, color="0.5", linewidth=0.8)
    error = [table.ratio - table.ratio_low, table.ratio_high - table.ratio]
    panel.errorbar(
        place, table.ratio, yerr=error, fmt="o", color=COLOURS[0], markersize=5, label="95 % interval"
    )
    panel.set_xticks(place, table["class"], rotation=60)
    panel.tick_params(axis="x", which="minor", bottom=False, top=False)
    panel.set(ylim=(0.65, 1.45), ylabel="particles a jet, simulated / reference")
    panel.legend(loc="lower right")


def _mix(simulated: Mapping, reference: Mapping) -> tuple[Observables, NDArray[np.float64]]:
    """All simulated jets, with weights that mix the classes as in the reference."""
    mine, other = (
        np.bincount(np.asarray(one["label"]), minlength=len(CLASSES)) for one in (simulated, reference)
    )
    weight = np.divide(other, mine, out=np.zeros(len(CLASSES)), where=mine > 0)
    return observables(simulated), weight[np.asarray(simulated["label"])]


def _draw_spectra(
    panel: Axes, mixed: tuple[Observables, NDArray], other: Observables, edges: NDArray
) -> None:
    mine, jet_weight = mixed
    width = np.diff(np.log(edges))
    weight = np.repeat(jet_weight, mine.multiplicity)
    height, _ = np.histogram(ak.flatten(mine.constituent_pt), edges, weights=weight)
    panel.stairs(
        height / jet_weight.sum() / width, edges, color=COLOURS[0], label=f"simulated, n = {len(mine.mass)}"
    )
    height, _ = np.histogram(ak.flatten(other.constituent_pt), edges)
    scale = len(other.mass) * width
    _points(
        panel,
        np.sqrt(edges[1:] * edges[:-1]),
        height / scale,
        np.sqrt(height) / scale,
        f"reference, n = {len(other.mass)}",
    )
    panel.set(
        xscale="log", xlabel="particle pT [GeV]", ylabel="particles a jet and unit of ln pT", xlim=(0.3, 500)
    )
    panel.legend(title="classes mixed as in the reference", loc="upper right")
    panel.set_ylim(0, 1.35 * panel.get_ylim()[1])


def _draw_masses(panel: Axes, mine: Observables, other: Observables, name: str) -> None:
    edges = np.linspace(0, 250, 26)
    width = edges[1] - edges[0]
    height, _ = np.histogram(mine.mass, edges)
    legend = f"simulated, n = {len(mine.mass)}"
    panel.stairs(height / len(mine.mass) / width, edges, color=COLOURS[0], linestyle=LINES[0], label=legend)
    height, _ = np.histogram(other.mass, edges)
    scale = len(other.mass) * width
    centre = (edges[1:] + edges[:-1]) / 2
    _points(panel, centre, height / scale, np.sqrt(height) / scale, f"reference, n = {len(other.mass)}")
    panel.set(xlabel="jet mass [GeV]", ylabel="jets / GeV, area 1", xlim=(0, 250))
    panel.legend(title=name, loc="upper right")
    panel.set_ylim(0, 1.45 * panel.get_ylim()[1])


def _points(panel: Axes, x: NDArray, y: NDArray, error: NDArray, legend: str) -> None:
    """Draw points with errors where there are any jets."""
    full = y > 0
    panel.errorbar(
        x[full], y[full], error[full], fmt="o", color=COLOURS[-1], markersize=3, linewidth=1, label=legend
    )
