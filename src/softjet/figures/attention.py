"""Figures of attention: how binary it is, its maps, and its pairs on the eta-phi plane. They take tables."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import PowerNorm, to_rgba
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.special import softmax

from softjet.figures.style import COLOURS, LINES, NARROWEST, SEQUENTIAL, new_figure, save_figure
from softjet.jets.schema import CLASSES

ALL = -1

SERIES = (
    ("value", "low", "high", "trained", COLOURS[0], "o"),
    ("null", "null_low", "null_high", "random logits, same spread", COLOURS[1], "s"),
    ("untrained", "untrained_low", "untrained_high", "untrained", COLOURS[2], "^"),
)

IDENTITY = (
    ("charged hadron", "^"),
    ("neutral hadron", "v"),
    ("photon", "o"),
    ("electron", "P"),
    ("muon", "X"),
    ("unknown", "D"),
)
"""Marker of each place in softjet.jets.schema.IDENTITIES; the last is for -1."""


def draw_shares(statistics: pd.DataFrame, target: str | Path) -> None:
    """Share of queries above each threshold by layer, beside the random null and the untrained network.

    Above: the largest weight wherever it is; below: on another particle than the query.

    Parameters
    ----------
    statistics : DataFrame
        By `softjet.attention.statistics.statistics_table`.
    target : path
        PNG; a PDF stands beside it.
    """
    shares = _by_layer(statistics)
    kinds = {"above": "on one particle", "above_other": "on another particle"}
    thresholds = sorted(shares.threshold.dropna().unique())
    figure, axes = new_figure(2, len(thresholds), width=3.4, height=2.7, squeeze=False, sharey="col")
    for line, (statistic, name) in zip(axes, kinds.items(), strict=True):
        for panel, threshold in zip(line, thresholds, strict=True):
            rows = shares[(shares.statistic == statistic) & (shares.threshold == threshold)]
            _draw_series(panel, rows.sort_values("layer"))
            panel.set(title=f"more than {threshold:g} {name}", xticks=sorted(rows.layer))
            panel.tick_params(axis="x", which="minor", length=0)
        line[0].set_ylabel("share of queries (%)")
    for panel in axes[-1]:
        panel.set_xlabel("layer")
    axes[0, -1].legend(loc="best")
    figure.suptitle(_counts(statistics), fontsize=9)
    save_figure(figure, target)


def _by_layer(statistics: pd.DataFrame) -> pd.DataFrame:
    """Rows about one layer each, over all heads, classes and multiplicities."""
    every = (statistics[["head", "label", "n_low"]] == ALL).all(axis=1)
    return statistics[every & (statistics.layer != ALL)]


def _draw_series(panel: Axes, rows: pd.DataFrame) -> None:
    for shift, (value, low, high, name, colour, marker) in zip((-0.15, 0, 0.15), SERIES, strict=True):
        y = 100 * rows[value]
        spread = np.stack([y - 100 * rows[low], 100 * rows[high] - y]).clip(0)
        panel.errorbar(
            rows.layer + shift, y, spread, marker=marker, color=colour, label=name,
            linestyle=":", linewidth=0.8, elinewidth=1.2, capsize=2, markersize=5,
        )  # fmt: skip
    # A little below zero, so that points at zero show whole.
    panel.set_ylim(bottom=-0.04 * panel.get_ylim()[1])


def _counts(statistics: pd.DataFrame) -> str:
    """Jets and queries that the whole table stands on."""
    every = (statistics[["layer", "head", "label", "n_low"]] == ALL).all(axis=1)
    whole = statistics[every & (statistics.statistic == "above")].iloc[0]
    return f"{whole.n_jets:,} test jets, {_counted(statistics, 'above'):,.0f} queries; bars: 95 % over jets"


def _counted(statistics: pd.DataFrame, statistic: str) -> float:
    """Queries or pairs of a statistic, added up over classes: rows of all classes weigh each class alike."""
    every = (statistics[["layer", "head", "n_low"]] == ALL).all(axis=1)
    of_class = statistics[every & (statistics.label != ALL) & (statistics.statistic == statistic)]
    return float(of_class.drop_duplicates("label").denominator.sum())


def draw_heads(statistics: pd.DataFrame, target: str | Path, threshold: float) -> None:
    """Heat map, heads by layers, of the share of queries whose largest weight exceeds `threshold`."""
    rows = statistics[(statistics.statistic == "above") & (statistics.threshold == threshold)]
    rows = rows[(rows["head"] != ALL) & (rows.label == ALL)]
    share = 100 * rows.pivot_table("value", "layer", "head")
    figure, panel = new_figure(width=5.2, height=4.2)
    image = panel.imshow(share, vmin=0, aspect="auto", origin="lower")
    middle = float(share.to_numpy().max()) / 2
    for (layer, head), value in np.ndenumerate(share.to_numpy()):
        colour = "white" if value < middle else "black"
        panel.text(head, layer, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=8)
    panel.set(xlabel="head", ylabel="layer", xticks=share.columns, yticks=share.index)
    panel.tick_params(which="both", length=0)
    figure.colorbar(image, label=f"queries with a weight > {threshold:g} (%)")
    figure.suptitle(_counts(statistics).split(";")[0], fontsize=9)
    save_figure(figure, target)


def draw_choices(statistics: pd.DataFrame, target: str | Path) -> None:
    """Whom the largest weight of a query is on, by layer, beside the random null and the untrained network.

    Parameters
    ----------
    statistics : DataFrame
        Of `softjet.attention.binary`, by `softjet.attention.statistics.statistics_table`.
    target : path
        PNG; a PDF stands beside it.
    """
    shares = _by_layer(statistics)
    kinds = {"self": "itself", "mutual": "one that looks back", "hub": "the jet's most chosen particle"}
    figure, axes = new_figure(1, len(kinds), width=3.4, height=2.9)
    for panel, (statistic, name) in zip(axes, kinds.items(), strict=True):
        _draw_series(panel, shares[shares.statistic == statistic].sort_values("layer"))
        panel.set(title=f"largest weight on {name}", xlabel="layer", xticks=sorted(shares.layer.unique()))
        panel.tick_params(axis="x", which="minor", length=0)
    axes[0].set_ylabel("share of queries (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(SERIES))
    figure.suptitle(_counts(statistics), fontsize=9)
    save_figure(figure, target)


def draw_multiplicity(statistics: pd.DataFrame, target: str | Path) -> None:
    """Share of queries above each threshold by particles in the jet, beside both nulls.

    Parameters
    ----------
    statistics : DataFrame
        Of `softjet.attention.binary`, by `softjet.attention.statistics.statistics_table`.
    target : path
        PNG; a PDF stands beside it.
    """
    rows = statistics[(statistics.n_low != ALL) & (statistics.layer == ALL)].sort_values("n_low")
    rows = rows[rows.statistic == "above"]
    edges = sorted(rows.n_low.unique())
    names = [f"{a} to {b - 1}" for a, b in pairwise(edges)] + [f"{edges[-1]} or more"]
    thresholds = sorted(rows.threshold.unique())
    figure, axes = new_figure(1, len(thresholds), width=3.4, height=2.9, squeeze=False)
    for panel, threshold in zip(axes[0], thresholds, strict=True):
        # In place of the layer stands the number of the bin.
        of_bin = rows[rows.threshold == threshold].assign(layer=range(len(edges)))
        _draw_series(panel, of_bin)
        panel.set(title=f"more than {threshold:g} on one particle", xlabel="particles")
        panel.set_xticks(range(len(edges)), names, fontsize=8)
        panel.tick_params(axis="x", which="minor", length=0)
    axes[0, 0].set_ylabel("share of queries (%)")
    axes[0, -1].legend(loc="best")
    figure.suptitle(_counts(statistics), fontsize=9)
    save_figure(figure, target)


PARTS = (("qk", "QK", COLOURS[0], "o"), ("bias", "U", COLOURS[1], "s"))
"""The two parts of a logit: ending of the statistics' names, name, colour, marker."""


def draw_parts(statistics: pd.DataFrame, target: str | Path) -> None:
    """QK against U by layer: what each does alone, and its share of the logits' variance.

    Filled: the trained network; open: the untrained one.

    Parameters
    ----------
    statistics : DataFrame
        Of `softjet.attention.parts`, by `softjet.attention.statistics.statistics_table`.
    target : path
        PNG; a PDF stands beside it.
    """
    rows = _by_layer(statistics)
    panels = {
        "same_key": "largest weight stays on its key (%)",
        "largest": "mean largest weight (%)",
        "variance": "share of the row's variance (%)",
    }
    figure, axes = new_figure(1, len(panels), width=3.6, height=3.0)
    for panel, (statistic, label) in zip(axes, panels.items(), strict=True):
        for ending, name, colour, marker in PARTS:
            part = rows[rows.statistic == f"{statistic}_{ending}"].sort_values("layer")
            _draw_part(panel, part, f"{name} alone" if statistic != "variance" else name, colour, marker)
        panel.set(xlabel="layer", ylabel=label, xticks=sorted(rows.layer.unique()), ylim=(0, None))
        panel.tick_params(axis="x", which="minor", length=0)
    axes[0].legend(loc="best")
    figure.suptitle(f"{rows.n_jets.max():,} test jets; bars: 95 % over jets", fontsize=9)
    save_figure(figure, target)


def _draw_part(panel: Axes, rows: pd.DataFrame, name: str, colour: str, marker: str) -> None:
    for prefix, shift, filled in (("", -0.1, True), ("untrained_", 0.1, False)):
        y = 100 * rows["untrained" if prefix else "value"]
        spread = np.stack([y - 100 * rows[f"{prefix}low"], 100 * rows[f"{prefix}high"] - y]).clip(0)
        panel.errorbar(
            rows.layer + shift, y, spread, marker=marker, color=colour, linestyle=":", linewidth=0.8,
            elinewidth=1.2, capsize=2, markersize=5, markerfacecolor=colour if filled else "white",
            label=name if filled else f"{name}, untrained",
        )  # fmt: skip


LEAST_MAP = (3.6, 3.2)
"""Least width and height of the figure of maps, which its title and the name of its scale need."""

LEGEND_COLUMN = 1.5
"""Inches of a column of the legend of pairs."""


def draw_maps(
    maps: pd.DataFrame,
    jet: int,
    target: str | Path,
    layer: int | None = None,
    classes: Sequence[str] = CLASSES,
) -> None:
    """Weights of every head of one layer of one jet; particles in falling pT.

    Parameters
    ----------
    maps : DataFrame
        The maps table.
    jet : int
        Place of the jet in the sample.
    target : path
        PNG; a PDF stands beside it.
    layer : int, optional
        The last, if not given.
    classes : sequence of str
        Names of the classes.
    """
    layer = int(maps.layer.max()) if layer is None else layer
    rows = maps[(maps.jet == jet) & (maps.layer == layer)].sort_values("head").to_dict("records")
    columns = min(4, len(rows))
    figure, axes = new_figure(
        -(-len(rows) // columns), columns, width=2.5, height=2.4, least=LEAST_MAP, squeeze=False
    )
    for panel in axes.flat[len(rows) :]:
        panel.remove()
    for panel, row in zip(axes.flat, rows, strict=False):
        image = panel.imshow(_square(row), norm=PowerNorm(0.5, 0, 1))
        panel.set_title(f"head {row['head']}")
        panel.tick_params(which="both", length=2, labelsize=7)
    figure.supxlabel("key (particles in falling pT)", fontsize=10)
    figure.supylabel("query", fontsize=10)
    figure.colorbar(image, ax=figure.axes, label="attention weight (square-root scale)", shrink=0.9)
    name, n = classes[rows[0]["label"]], rows[0]["n"]
    figure.suptitle(f"{name} jet, {n} particles, layer {layer}", fontsize=10)
    save_figure(figure, target)


def _square(row: Mapping[Hashable, Any]) -> NDArray[np.float32]:
    """Weights (n, n) of a row of the maps table: rows are queries, columns keys."""
    return np.asarray(row["weights"], np.float32).reshape(row["n"], row["n"])


def draw_pairs(
    maps: pd.DataFrame,
    particles: pd.DataFrame,
    jets: Sequence[int],
    target: str | Path,
    layer: int | None = None,
    head: int | None = None,
    above: float = 0.1,
    classes: Sequence[str] = CLASSES,
) -> None:
    """Attention between the particles of a few jets on the eta-phi plane.

    A line from query to key for each ordered pair whose weight is above `above`: its width and opacity
    rise with the weight; solid within a subjet, dotted between subjets. Colour tells the kT subjet, the
    marker what the particle is, its area the pT. Below each jet stands how far the eye can be fooled: its
    particles with the softmax of random logits, each row with the variance of the recorded one.

    Parameters
    ----------
    maps, particles : DataFrame
        The maps and particles tables.
    jets : sequence of int
        Places in the sample, two panels each.
    target : path
        PNG; a PDF stands beside it.
    layer : int, optional
        The last, if not given.
    head : int, optional
        The head with the largest weights between particles in these jets, if not given.
    above : float
        Weights above this get a line.
    classes : sequence of str
        Names of the classes.
    """
    layer = int(maps.layer.max()) if layer is None else layer
    rows = maps[maps.jet.isin(jets) & (maps.layer == layer)]
    head = _sharpest_head(rows) if head is None else head
    of_head = {row["jet"]: row for row in rows[rows["head"] == head].to_dict("records")}
    figure, axes = new_figure(
        2, len(jets), width=3.4, height=3.4, least=(NARROWEST, 0),
        squeeze=False, sharex="col", sharey="col",
    )  # fmt: skip
    for column, jet in zip(axes.T, jets, strict=True):
        of_jet, row = particles[particles.jet == jet].sort_values("particle"), of_head[jet]
        control = random_weights(row, np.random.default_rng((jet, layer, head)))
        name = f"{classes[row['label']]}, {len(of_jet)} particles, {of_jet.pt.sum():.0f} GeV"
        shown = ((_square(row), name), (control, "random logits"))
        for panel, (weights, what) in zip(column, shown, strict=True):
            lines = _draw_lines(panel, of_jet, weights, above)
            _draw_particles(panel, of_jet)
            panel.set_title(f"{what}: {lines} lines", fontsize=9)
        column[1].set_xlabel(r"$\Delta\eta$")
    for panel in axes[:, 0]:
        panel.set_ylabel(r"$\Delta\phi$ (rad)")
    subjets = int(particles[particles.jet.isin(jets)].subjet.max()) + 1
    columns = min(6, int(figure.get_figwidth() / LEGEND_COLUMN))
    figure.legend(handles=_legend(above, subjets), loc="outside lower center", ncols=columns)
    figure.suptitle(f"layer {layer}, head {head}", fontsize=10)
    save_figure(figure, target)


def random_weights(row: Mapping[Hashable, Any], generator: np.random.Generator) -> NDArray[np.float32]:
    """Softmax of Gaussian logits, (n, n), each row with the variance of that of a row of the maps table."""
    recorded = np.asarray(row["qk"], float) + np.asarray(row["bias"], float)
    spread = recorded.reshape(row["n"], row["n"]).std(1, keepdims=True)
    gauss = generator.standard_normal((row["n"], row["n"]))
    gauss -= gauss.mean(1, keepdims=True)
    unit = gauss.std(1, keepdims=True)
    logits = spread * np.divide(gauss, unit, out=np.zeros(gauss.shape), where=unit > 0)
    return softmax(logits, axis=1).astype(np.float32)


def _sharpest_head(rows: pd.DataFrame) -> int:
    """Head whose queries have the largest weights on another particle, on average."""
    others = [_square(row) * (1 - np.eye(row["n"])) for row in rows.to_dict("records")]
    sharpness = pd.Series([weights.max(1).mean() for weights in others], rows["head"])
    return int(sharpness.groupby(level=0).mean().to_numpy().argmax())


def _draw_lines(panel: Axes, particles: pd.DataFrame, weights: NDArray[np.float32], above: float) -> int:
    """Draw the lines, and give their number."""
    query, key = np.nonzero((weights > above) & ~np.eye(len(weights), dtype=bool))
    place, subjet = particles[["deta", "dphi"]].to_numpy(), particles.subjet.to_numpy()
    weight = weights[query, key]
    paths = [_bow(place[a], place[b]) for a, b in zip(query, key, strict=True)]
    styles = np.where(subjet[query] == subjet[key], "solid", "dotted")
    colours = [to_rgba("black", 0.15 + 0.75 * float(w)) for w in weight]
    panel.add_collection(
        LineCollection(
            paths, linewidths=0.4 + 2.2 * weight, colors=colours, linestyles=list(styles), zorder=1
        )
    )
    return len(paths)


def _bow(start: NDArray, end: NDArray, bend: float = 0.12) -> NDArray:
    """A slightly bent line, (20, 2), so that the two lines of a mutual pair lie side by side."""
    t = np.linspace(0, 1, 20)[:, None]
    across = np.array([start[1] - end[1], end[0] - start[0]])
    return start + t * (end - start) + 4 * t * (1 - t) * bend / 2 * across


def _draw_particles(panel: Axes, particles: pd.DataFrame) -> None:
    """Draw hard particles first, so that soft ones lie on top of them."""
    for subjet, identity, deta, dphi, pt in particles.sort_values("pt", ascending=False)[
        ["subjet", "identity", "deta", "dphi", "pt"]
    ].itertuples(index=False):
        panel.scatter(
            deta, dphi, 8 + 220 * pt / particles.pt.max(), color=COLOURS[subjet % len(COLOURS)],
            marker=IDENTITY[identity][1], edgecolors="black", linewidths=0.5, alpha=0.85, zorder=2,
        )  # fmt: skip
    reach = 1.1 * max(particles.deta.abs().max(), particles.dphi.abs().max(), 0.1)
    panel.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")


def _legend(above: float, subjets: int) -> list[Line2D]:
    """What markers, colours and lines mean."""

    def dot(name: str, marker: str, colour: str) -> Line2D:
        return Line2D(
            [], [], linestyle="none", marker=marker, color=colour,
            markeredgecolor="black", markersize=7, label=name,
        )  # fmt: skip

    return [
        *(dot(name, marker, "grey") for name, marker in IDENTITY[:-1]),
        *(dot(f"subjet {i + 1}", "s", COLOURS[i]) for i in range(subjets)),
        Line2D([], [], color="black", linestyle="-", label=f"weight > {above:g} within a subjet"),
        Line2D([], [], color="black", linestyle=":", label=f"weight > {above:g} between subjets"),
    ]


def draw_weights(statistics: pd.DataFrame, target: str | Path) -> None:
    """Distribution of all weights beside both nulls, and by layer.

    Parameters
    ----------
    statistics : DataFrame
        Of `softjet.attention.distribution`, by `softjet.attention.statistics.statistics_table`.
    target : path
        PNG; a PDF stands beside it.
    """
    rows = statistics[(statistics[["head", "label", "n_low"]] == ALL).all(axis=1)].sort_values("threshold")
    whole, layers = rows[rows.layer == ALL], rows[rows.layer != ALL]
    edges = np.append(whole.threshold, 1)
    figure, (left, right) = new_figure(1, 2, width=4.8, height=3.6, sharey=True)
    for (value, low, high, name, colour, _), line in zip(SERIES, LINES, strict=False):
        left.stairs(_positive(whole[value]), edges, color=colour, linestyle=line, linewidth=1.6, label=name)
        ends = _positive(whole[low]), _positive(whole[high])
        left.stairs(ends[1], edges, baseline=ends[0], fill=True, color=colour, alpha=0.2)
    shades = plt.colormaps[SEQUENTIAL](np.linspace(0, 0.9, layers.layer.nunique()))
    for colour, (layer, own) in zip(shades, layers.groupby("layer"), strict=True):
        right.stairs(_positive(own["value"]), edges, color=colour, label=f"layer {layer}")
    left.set(ylabel="share of ordered pairs", title="all layers and heads; bands: 95 % over jets")
    right.set(title="trained, by layer")
    for panel in (left, right):
        panel.set(yscale="log", xlim=(0, 1), xlabel="attention weight")
        panel.legend(fontsize=7.5)
    pairs = _counted(statistics, "weight")
    figure.suptitle(f"{whole.n_jets.iloc[0]:,} test jets, {pairs:,.0f} pairs", fontsize=9)
    save_figure(figure, target)


def _positive(share: pd.Series) -> NDArray[np.float64]:
    """Shares for a logarithmic axis: what is not above 0 is not drawn."""
    return share.where(share > 0).to_numpy()
