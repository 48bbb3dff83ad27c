"""Spearman correlations of attention summaries with traditional jet observables, jet by jet."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, norm, rankdata

from softjet.attention.observables import OBSERVABLES
from softjet.attention.probes import ALL_JETS, WITHIN, usable
from softjet.attention.states import Readings
from softjet.attention.statistics import LEVEL
from softjet.attention.summaries import SUMMARIES
from softjet.attention.sums import draws

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

COLUMNS = ("rho", "untrained", "difference")
"""Spearman's rho of the trained network, of the untrained one, and the former less the latter."""

LARGEST = 1 - 1e-9
"""Fisher's transformation ends at 1."""


def correlation_table(test: Readings, bootstrap: int, seed: int) -> pd.DataFrame:
    """Spearman's rho of every attention summary of every layer with every observable.

    Parameters
    ----------
    test : Readings
        Of the networks "trained" and "untrained". Jets that lack an observable are left out.
    bootstrap : int
        Resamples of jets, by their keys, the same for both networks.
    seed : int
        Of the resamples.

    Returns
    -------
    DataFrame
        summary, layer, observable, scope ("all jets"; "within classes": ranks taken within each class), rho,
        untrained and difference, each with its 95 % interval (_low, _high), p and q (_p, _q), and n. p is
        that of zero, normal with the bootstrap's standard error of Fisher's transform; q is p after
        Benjamini and Hochberg's correction for all cells of the table, p of all three columns.

    Raises
    ------
    InputError
        Too few jets have every observable.
    """
    test = usable(test, "test jets")
    counts = draws(test.key, bootstrap, seed)
    groups = {ALL_JETS: np.zeros_like(test.label), WITHIN: test.label}
    frames = [frame for scope, group in groups.items() for frame in _frames(test, group, counts, scope)]
    table = pd.concat(frames, ignore_index=True).assign(n=len(test.label))
    tests = table[[f"{name}_p" for name in COLUMNS]].to_numpy()
    table[[f"{name}_q" for name in COLUMNS]] = corrected(tests)
    return table


def rank_correlation(left: Floats, right: Floats, group: Labels) -> Floats:
    """Spearman's rho of rows (A, J) with rows (B, J), ranks taken within groups (J,); (A, B).

    Ranks of a group are shares of its size, less their mean. A row that does not vary has no rho (NaN).
    """
    ranks = [np.empty_like(rows) for rows in (left, right)]
    for one in np.unique(group):
        these = np.flatnonzero(group == one)
        for target, rows in zip(ranks, (left, right), strict=True):
            # The mean rank is known to the last bit, so that a row that does not vary gives zeros.
            target[:, these] = (rankdata(rows[:, these], axis=1) - (len(these) + 1) / 2) / len(these)
    lengths = [np.sqrt((rows**2).sum(1)) for rows in ranks]
    product = ranks[0] @ ranks[1].T
    size = np.outer(*lengths)
    return np.divide(product, size, out=np.full_like(product, np.nan), where=size > 0)


def corrected(p: Floats) -> Floats:
    """Values q by Benjamini and Hochberg over all entries of an array that are not NaN."""
    q, known = np.full_like(p, np.nan), np.isfinite(p)
    if known.any():
        q[known] = false_discovery_control(p[known], method="bh")
    return q


def _frames(test: Readings, group: Labels, counts: Floats, scope: str) -> Iterator[pd.DataFrame]:
    """Rows of a scope, a frame a summary and layer."""
    shape = test.networks["trained"].summaries.shape[1:]
    rho = _resampled(test, group, counts).reshape(len(counts), 2, *shape, len(OBSERVABLES))
    rho = np.concatenate([rho, rho[:, :1] - rho[:, 1:]], axis=1)
    for place, summary in enumerate(SUMMARIES):
        for layer in range(shape[1]):
            columns = {"summary": summary, "layer": layer, "observable": OBSERVABLES, "scope": scope}
            for column, name in enumerate(COLUMNS):
                columns |= _estimate(name, rho[:, column, place, layer])
            yield pd.DataFrame(columns)


def _resampled(test: Readings, group: Labels, counts: Floats) -> Floats:
    """Rho of the jets drawn `counts` (1 + R, J) times, (1 + R, summaries of both networks, O)."""
    both = [test.networks[name].summaries for name in ("trained", "untrained")]
    left = np.concatenate([part.reshape(len(part), -1) for part in both], axis=1).T.astype(np.float64)
    right = np.ascontiguousarray(test.observables.T)
    rho = []
    for drawn in counts:
        # Ranks are taken anew in each resample.
        rows = np.repeat(np.arange(len(drawn)), drawn.astype(np.int64))
        rho.append(rank_correlation(left[:, rows], right[:, rows], group[rows]))
    return np.stack(rho)


def _estimate(name: str, values: Floats) -> dict[str, Floats]:
    """Value, interval and p of values (1 + R, O), the first of which is that of the jets themselves."""
    low, high = np.quantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    normal = values if name == "difference" else np.arctanh(values.clip(-LARGEST, LARGEST))
    error = normal[1:].std(0)
    ratio = np.divide(abs(normal[0]), error, out=np.full_like(error, np.nan), where=error > 0)
    return {name: values[0], f"{name}_low": low, f"{name}_high": high, f"{name}_p": 2 * norm.sf(ratio)}
