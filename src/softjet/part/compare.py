"""Two classifiers on the same jets: what one loses to the other, by a paired bootstrap."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from softjet.jets.schema import CLASSES
from softjet.part.evaluate import (
    BACKGROUND,
    FEWEST_SURVIVORS,
    LEVEL,
    WORKING_POINTS,
    macro_auc,
    scores,
    survivors,
)

RESAMPLES = 200
AUC_RESAMPLES = 50
COLUMNS = ("metric", "class", "dense", "compressed", "change", "low", "high", "n", "note")

Logits = NDArray[np.floating]
Labels = NDArray[np.integer]
Metric = Callable[[Logits, Labels], float]


class Pair(NamedTuple):
    """Logits of two models on the same jets, their labels, and jets drawn anew for each resample."""

    dense: Logits
    compressed: Logits
    labels: Labels
    draws: Sequence[NDArray[np.integer]]


def compare(
    dense: Logits, compressed: Logits, labels: Labels, classes: Sequence[str] = CLASSES, seed: int = 1
) -> pd.DataFrame:
    """Accuracy, AUC and rejections of a dense and a compressed model, with the interval of their change.

    Every resample draws the same jets for both models, as many of each class as there are, so that what
    the models share drops out.

    Parameters
    ----------
    dense, compressed : array, shape (N, C)
        Logits of the same jets in the same order.
    labels : array of int, shape (N,)
    classes : sequence of str
        Names of the C classes.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    DataFrame
        metric, class, dense, compressed, change (compressed - dense; for a rejection the ratio compressed /
        dense), low and high (95 % interval of the change), n (jets; for a rejection background jets), note.
        A rejection for which either model lets fewer than 50 background jets pass is NaN, and note says so.
    """
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == i) for i in range(len(classes))]
    draws = [
        np.concatenate([generator.choice(m, len(m)) for m in members if len(m)]) for _ in range(RESAMPLES)
    ]
    pair = Pair(dense, compressed, labels, draws)
    rows = [("accuracy", "all", *_changes(pair, _accuracy, np.subtract), len(labels), "")]
    if all(map(len, members)):
        fewer = pair._replace(draws=draws[:AUC_RESAMPLES])
        rows.append(("auc", "all", *_changes(fewer, _auc, np.subtract), len(labels), ""))
    rows += [
        _rejection_row(pair, classes, name, percent)
        for name, percent in WORKING_POINTS.items()
        if {name, BACKGROUND} <= {c for c, m in zip(classes, members, strict=True) if len(m)}
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _changes(
    pair: Pair, metric: Metric, change: Callable[[float, float], float]
) -> tuple[float, float, float, float, float]:
    """Value of both models, the change from dense to compressed, and its interval."""
    dense, compressed = metric(pair.dense, pair.labels), metric(pair.compressed, pair.labels)
    changes = [
        change(metric(pair.compressed[jets], pair.labels[jets]), metric(pair.dense[jets], pair.labels[jets]))
        for jets in pair.draws
    ]
    low, high = np.quantile(changes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return dense, compressed, change(compressed, dense), low, high


def _rejection_row(pair: Pair, classes: Sequence[str], name: str, percent: float) -> tuple:
    efficiency = np.array([percent / 100])
    n = int((pair.labels == list(classes).index(BACKGROUND)).sum())

    def passing(logits: Logits, labels: Labels) -> int:
        return int(survivors(*scores(logits, labels, classes, name), efficiency)[0])

    def rejection(logits: Logits, labels: Labels) -> float:
        return n / max(1, passing(logits, labels))

    metric = f"rejection_{percent:g}"
    counts = [passing(logits, pair.labels) for logits in (pair.dense, pair.compressed)]
    if min(counts) < FEWEST_SURVIVORS:
        note = f"not measured ({counts[0]} and {counts[1]} of {n} jets survive; needs {FEWEST_SURVIVORS})"
        return metric, name, *[math.nan] * 5, n, note
    return metric, name, *_changes(pair, rejection, np.divide), n, ""


def _accuracy(logits: Logits, labels: Labels) -> float:
    return float((logits.argmax(1) == labels).mean())


def _auc(logits: Logits, labels: Labels) -> float:
    probabilities = softmax(np.asarray(logits, dtype=np.float64), axis=1)
    return macro_auc(probabilities, labels)[0]
