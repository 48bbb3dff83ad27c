"""Two models on the same jets: the change of each metric with its interval, by paired bootstrap."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from softjet.errors import InputError
from softjet.jets.schema import CLASSES
from softjet.part.auc import macro_auc
from softjet.part.evaluate import LEVEL, accuracy
from softjet.part.rejection import WorkingPoint, scores, survivors, too_few, working_points

RESAMPLES = 1000
AUC_RESAMPLES = 50
COLUMNS = ("metric", "class", "reference", "other", "change", "low", "high", "n", "note")

Logits = NDArray[np.floating]
Labels = NDArray[np.integer]
Metric = Callable[[Logits, Labels], float]


class Pair(NamedTuple):
    """Logits of two models on the same jets, their labels, and jets drawn anew for each resample."""

    reference: Logits
    other: Logits
    labels: Labels
    draws: Sequence[NDArray[np.integer]]


def compare(
    reference: Logits, other: Logits, labels: Labels, classes: Sequence[str] = CLASSES, seed: int = 1
) -> pd.DataFrame:
    """Accuracy, AUC and rejections of two models, with the interval of their change.

    Every resample draws the same jets for both models, as many of each class as there are, so that what
    the models share drops out.

    Parameters
    ----------
    reference, other : array, shape (N, C)
        Logits of the same jets in the same order.
    labels : array of int, shape (N,)
    classes : sequence of str
        Names of the C classes.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    DataFrame
        metric, class, reference, other, change (other - reference; for a rejection the ratio other /
        reference), low and high (95 % interval of the change), n (jets; for a rejection background jets),
        note. A rejection for which either model lets fewer than 50 background jets pass, or fewer than ten
        signal jets lie below the cut, is NaN, and note says so.
    """
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == i) for i in range(len(classes))]
    draws = [
        np.concatenate([generator.choice(m, len(m)) for m in members if len(m)]) for _ in range(RESAMPLES)
    ]
    pair = Pair(reference, other, labels, draws)
    rows = [("accuracy", "all", *_changes(pair, _accuracy, np.subtract), len(labels), "")]
    if all(map(len, members)):
        fewer = pair._replace(draws=draws[:AUC_RESAMPLES])
        rows.append(("auc", "all", *_changes(fewer, _auc, np.subtract), len(labels), ""))
    present = {name for name, m in zip(classes, members, strict=True) if len(m)}
    rows += [
        _rejection_row(pair, classes, point)
        for point in working_points(classes)
        if {point.signal, point.background} <= present
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def compare_tables(reference: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Compare two models by their tables of logits (`softjet.part.evaluate.logits_table`).

    Raises
    ------
    InputError
        The tables are of other jets or of other classes.
    """
    classes, labels, logits = same_jets([reference, other])
    return compare(logits[0], logits[1], labels, classes)


def same_jets(tables: Sequence[pd.DataFrame]) -> tuple[list[str], Labels, list[Logits]]:
    """Classes, labels (N,) and logits (N, C) of models that were tested on the same jets.

    Raises
    ------
    InputError
        The tables are of other jets or of other classes.
    """
    first, names = tables[0], _logit_names(tables[0])
    for table in tables[1:]:
        if _logit_names(table) != names:
            raise InputError("logits", "classes", "differ between models; compare models of one dataset")
        if not first[["row", "label"]].equals(table[["row", "label"]]):
            raise InputError("logits", "row", "are of other jets in another model; evaluate both on the same")
    logits = [table[names].to_numpy() for table in tables]
    return [name.removeprefix("logit_") for name in names], first["label"].to_numpy(), logits


def _logit_names(table: pd.DataFrame) -> list[str]:
    return [name for name in map(str, table.columns) if name.startswith("logit_")]


def _changes(
    pair: Pair, metric: Metric, change: Callable[[float, float], float]
) -> tuple[float, float, float, float, float]:
    """Value of both models, the change between them, and its interval."""
    reference, other = metric(pair.reference, pair.labels), metric(pair.other, pair.labels)
    changes = [
        change(metric(pair.other[jets], pair.labels[jets]), metric(pair.reference[jets], pair.labels[jets]))
        for jets in pair.draws
    ]
    low, high = np.quantile(changes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return reference, other, change(other, reference), low, high


def _rejection_row(pair: Pair, classes: Sequence[str], point: WorkingPoint) -> tuple:
    n_signal, n = (int((pair.labels == list(classes).index(name)).sum()) for name in point[:2])

    def passing(logits: Logits, labels: Labels) -> int:
        signal, background = scores(logits, labels, classes, point)
        return int(survivors(signal, background, np.array([point.percent / 100]))[0])

    def rejection(logits: Logits, labels: Labels) -> float:
        return n / max(1, passing(logits, labels))

    fewest = min(passing(logits, pair.labels) for logits in (pair.reference, pair.other))
    if note := too_few(point, n_signal, fewest, n):
        return point.metric, point.signal, *[math.nan] * 5, n, note
    return point.metric, point.signal, *_changes(pair, rejection, np.divide), n, ""


def _accuracy(logits: Logits, labels: Labels) -> float:
    return accuracy(logits, labels, logits.shape[1])[0]


def _auc(logits: Logits, labels: Labels) -> float:
    probabilities = softmax(np.asarray(logits, dtype=np.float64), axis=1)
    return macro_auc(probabilities, labels)[0]
