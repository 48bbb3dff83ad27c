"""Tables of streamed statistics: values with intervals, beside random logits and an untrained network."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, norm
from scipy.stats import t as student

from softjet.errors import InputError

if TYPE_CHECKING:
    # The report reads tables with this module and needs no torch.
    from softjet.attention.sums import Sums

Floats = NDArray[np.float64]

ALL = -1
"""In the columns layer, head, label and n_low: taken over all of them."""

FEWEST_JETS = 5
"""With fewer jets in a class, resampling jets says nothing about the spread: intervals are absent."""

MOST_EMPTY = 0.05
"""Share of resamples that may have no jet to count, as of five jets one in 150 has, for an interval."""

MULTIPLICITIES = (1, 25, 40, 55)
"""Particles that the bins of multiplicity begin at; the last is open."""

LEVEL = 0.95
"""Coverage of every interval."""


class _Groups(NamedTuple):
    """Groups of jets, layers and heads that rows of the table are about.

    keys : dict of (G,) int, the columns layer, head, label and n_low.
    sums : (1 + R, K, G), the columns of `Sums` in each group.
    basis : what their statistics stand on.
    """

    keys: dict[str, NDArray[np.int64]]
    sums: Floats
    basis: "_Basis"


class _Basis(NamedTuple):
    """Jets that resampling is of.

    jets : (K,), those in which each column of the sums is not zero.
    freedom : (K,), of them less their classes; 0 where they are too few to say anything.
    """

    jets: Floats
    freedom: Floats


def statistics_table(trained: Mapping[str, "Sums"], untrained: Mapping[str, "Sums"]) -> pd.DataFrame:
    """Values of all statistics, overall, by layer, head, class and multiplicity.

    Parameters
    ----------
    trained, untrained : mapping of str to Sums
        Of the same jets and resamples, by `softjet.attention.stream.stream`.

    Returns
    -------
    DataFrame
        A row a statistic and group: statistic, threshold, layer, head, label (-1: all), class, n_low (least
        particles of the bin of multiplicity; -1: all), value, low, high, and the same with null_ and
        untrained_ before them; p_null, p_untrained: that the difference is chance (two-sided, Student's
        t); q_null, q_untrained: the same among all cells of layer, head and class of the statistic, as false
        discovery rates (Benjamini-Hochberg); n_jets, those that have something to count; denominator, what
        the value is a share or mean of.
        Where classes are taken together, each counts alike, in the denominator too (in a bin of multiplicity:
        each that has five jets there or more). Intervals hold 95 %, by resampling jets, wider by as much as
        the spread of few jets is not known.

    Raises
    ------
    InputError
        The two networks saw different jets.
    """
    parts = [_table(trained[name], untrained[name]) for name in trained]
    return pd.concat(parts, ignore_index=True)


def _table(trained: "Sums", untrained: "Sums") -> pd.DataFrame:
    if trained.names != untrained.names or not np.array_equal(trained.jets, untrained.jets):
        raise InputError(
            "untrained", "jets", "are not those of the trained network; read both from one sample"
        )
    pairs = zip(_groups(trained), _groups(untrained), strict=True)
    frames = [_frame(trained, here, there) for here, there in pairs]
    table = pd.concat(frames, ignore_index=True)
    for column in ("null", "untrained"):
        table[f"q_{column}"] = _false_discovery(table, f"p_{column}")
    return table


def _groups(sums: "Sums") -> Iterator[_Groups]:
    """Overall, layers, heads, classes, cells of layer, head and class, and bins of multiplicity."""
    jets = sums.jets[:, 0]
    layers = ("layer",) if sums.by_layer else ()
    axes = (*layers, "head")
    present = np.flatnonzero(jets)
    whole = _alike(sums.by_class[present], sums.jets[present])
    basis = _basis(sums.found[present], bool((jets[present] >= FEWEST_JETS).all()))
    yield from _marginals(whole, basis, axes, {"label": ALL, "n_low": ALL})
    for label in present:
        known = {"label": int(label), "n_low": ALL}
        yield from _marginals(sums.by_class[label], _basis(sums.found[[label]]), axes, known)
    for place, n_low in enumerate(MULTIPLICITIES):
        some = sums.jets_of_length[:, place]
        enough = some[:, 0] >= FEWEST_JETS
        # A class with a jet or two in a bin would carry its noise there with the weight of a class.
        used = np.flatnonzero(enough if enough.any() else some[:, 0])
        if len(used):
            cells = _alike(sums.by_length[used, place], some[used])[..., None]
            known = {"label": ALL, "n_low": n_low}
            basis = _basis(sums.found_of_length[used, place], bool(enough.any()))
            yield from _marginals(cells, basis, layers, known)


def _basis(found: Floats, enough: bool = True) -> _Basis:
    """Basis of classes (C, K) that are taken together; with `enough` false nothing is said of the spread."""
    freedom = found.sum(0) - (found > 0).sum(0)
    return _Basis(found.sum(0), np.where(enough & (freedom >= FEWEST_JETS - 1), freedom, 0))


def _alike(cells: Floats, jets: Floats) -> Floats:
    """Sums (1 + R, K, ...) in which each class counts alike, of those by class (C, 1 + R, K, ...)."""
    share = np.divide(1, jets, out=np.zeros(jets.shape), where=jets > 0)
    return np.einsum("cr...,cr->r...", cells, share) * jets[:, 0].sum() / len(jets)


def _marginals(
    cells: Floats, basis: _Basis, axes: tuple[str, ...], known: dict[str, int]
) -> Iterator[_Groups]:
    """All layers and heads together, each layer, each head of each layer; of sums (1 + R, K, L, H).

    `axes` are those that the sums tell apart: each has its rows, were it of length 1.
    """
    for kept in dict.fromkeys(((), axes[:1], axes)):
        taken = tuple(axis for axis, name in ((2, "layer"), (3, "head")) if name not in kept)
        sums = cells.sum(taken, keepdims=True)
        places = np.indices(sums.shape[2:]).reshape(2, -1)
        groups = places.shape[1]
        keys = {
            name: place if name in kept else np.full(groups, ALL)
            for name, place in zip(("layer", "head"), places, strict=True)
        }
        keys |= {name: np.full(groups, value) for name, value in known.items()}
        flat = sums.reshape(*sums.shape[:2], groups)
        yield _Groups(keys, flat, basis)


def _frame(sums: "Sums", here: _Groups, there: _Groups) -> pd.DataFrame:
    """Rows of some groups, statistic by statistic."""
    names = np.array([*sums.classes, "all"])
    frames = []
    for (statistic, threshold), limits, (top, bottom, null, error) in zip(
        sums.names, sums.limits, sums.columns, strict=True
    ):
        ratio = _divided(here.sums[:, top], here.sums[:, bottom])
        fresh = _divided(there.sums[:, top], there.sums[:, bottom])
        random = (
            _divided(here.sums[:, null], here.sums[:, bottom]) if null >= 0 else np.full_like(ratio, np.nan)
        )
        uncertain = (
            _divided(here.sums[0, error], here.sums[0, bottom]) if error >= 0 else np.zeros(ratio.shape[1])
        )
        jets, freedom = (of[bottom] for of in here.basis)
        columns = _interval("", ratio, limits, freedom)
        columns |= _interval("null_", random, limits, freedom, uncertain)
        columns |= _interval("untrained_", fresh, limits, freedom)
        columns |= {
            "p_null": _p(ratio - random, freedom, uncertain),
            "p_untrained": _p(ratio - fresh, freedom),
        }
        known = {"statistic": statistic, "threshold": threshold}
        counts = {"n_jets": int(jets), "denominator": here.sums[0, bottom]}
        frames.append(
            pd.DataFrame(known | here.keys | {"class": names[here.keys["label"]]} | columns | counts)
        )
    return pd.concat(frames, ignore_index=True)


def _divided(top: Floats, bottom: Floats) -> Floats:
    """Quotient; NaN where nothing is divided by nothing."""
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)


def stretch(freedom: float) -> float:
    """Factor by which percentiles of resamples of few jets are too near: Student's t over normal.

    In a Poisson bootstrap of a ratio the (n - 1) / n of the variance that n jets lack is made up for by the
    varying number of them.

    Parameters
    ----------
    freedom : float
        Degrees of freedom: jets less classes. Without any the factor is NaN.
    """
    tail = (1 + LEVEL) / 2
    return float(student.ppf(tail, freedom) / norm.ppf(tail))


def _interval(
    prefix: str,
    ratio: Floats,
    limits: tuple[float, float],
    freedom: float,
    uncertain: Floats | float = 0.0,
) -> dict[str, Floats]:
    """Value and interval of ratios (1 + R, G), of percentiles; `uncertain` is a standard error besides."""
    value, wider, besides = ratio[0], stretch(freedom), norm.ppf((1 + LEVEL) / 2) * uncertain
    low, high = _ends(ratio[1:])
    ends = {
        "low": value - np.hypot(wider * (value - low), besides),
        "high": value + np.hypot(wider * (high - value), besides),
    }
    # Percentiles stay within what is possible; how far they are stretched knows nothing of it.
    within = {f"{prefix}{name}": np.clip(end, *limits) for name, end in ends.items()}
    return {prefix.rstrip("_") or "value": value, **within}


def _ends(draws: Floats) -> Floats:
    """Percentiles (2, G) of draws (R, G); few that have nothing to divide by are left out, with many NaN."""
    shares = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    found = np.quantile(draws, shares, axis=0)
    few = _few_empty(draws)
    found[:, few] = np.nanquantile(draws[:, few], shares, axis=0)
    return found


def _few_empty(draws: Floats) -> NDArray[np.bool_]:
    """Columns of draws (R, G) in which some resamples have nothing to divide by, but MOST_EMPTY at most."""
    empty = np.isnan(draws).mean(0)
    return (empty > 0) & (empty <= MOST_EMPTY)


def _p(difference: Floats, freedom: float, uncertain: Floats | float = 0.0) -> Floats:
    """Two-sided p-value of a difference (1 + R, G) whose resamples tell its spread; NaN where they do not."""
    spread, few = difference[1:].std(0), _few_empty(difference[1:])
    spread[few] = np.nanstd(difference[1:, few], axis=0)
    told = (spread > 0) & (freedom > 0)
    size = np.abs(difference[0]) / np.where(told, np.hypot(spread, uncertain), 1)
    return np.where(told, 2 * student.sf(size, freedom), np.nan)


def _false_discovery(table: pd.DataFrame, column: str) -> pd.Series:
    """False discovery rates among all cells of layer, head and class of each statistic; NaN elsewhere."""
    rates = pd.Series(np.nan, table.index)
    cells = table[is_cell(table) & table[column].notna()]
    for _, family in cells.groupby(["statistic", "threshold"], dropna=False):
        rates[family.index] = false_discovery_control(family[column])
    return rates


def is_cell(table: pd.DataFrame) -> pd.Series:
    """Rows about one head (of one layer, if layers are told apart) and one class."""
    return (table["head"] != ALL) & (table["label"] != ALL)
