"""Two models on the same jets: the change of each metric with its interval, by paired bootstrap."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from softjet.errors import InputError
from softjet.jets.schema import CLASSES
from softjet.part.evaluate import LEVEL
from softjet.part.rejection import WorkingPoint, scores, survivors, too_few, working_points
from softjet.part.resampled import Counts, Values, resampled_accuracy, resampled_auc, resampled_rejection

RESAMPLES = 1000
CELLS = 8_000_000
"""Most counts held at a time; they take 64 MB."""

COLUMNS = ("metric", "class", "reference", "other", "change", "low", "high", "n", "note")

Logits = NDArray[np.floating]
Labels = NDArray[np.integer]


class Metric(NamedTuple):
    """What is compared: its place in the table, how it is measured, how two of its values are compared."""

    name: str
    of: str
    """A class, or "all"."""
    values: Values
    change: np.ufunc
    n: int
    note: str = ""
    """Why it is not measured."""


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
    models = (reference, other)
    metrics = list(_metrics(models, labels, classes))
    pieces = [
        [[metric.values(logits, labels, counts) for logits in models] for metric in metrics]
        for counts in _draws(labels, seed)
    ]
    values = np.concatenate(pieces, axis=-1)
    rows = [
        (metric.name, metric.of, *_changed(metric, *both), metric.n, metric.note)
        for metric, both in zip(metrics, values, strict=True)
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


def _metrics(models: Sequence[Logits], labels: Labels, classes: Sequence[str]) -> Iterator[Metric]:
    """Metrics of the classes that have jets."""
    present = np.bincount(labels, minlength=len(classes)) > 0
    yield Metric("accuracy", "all", resampled_accuracy, np.subtract, len(labels))
    if present.all():
        yield Metric("auc", "all", resampled_auc, np.subtract, len(labels))
    for point in working_points(classes):
        if all(present[list(classes).index(name)] for name in point[:2]):
            yield _rejection(models, labels, classes, point)


def _rejection(
    models: Sequence[Logits], labels: Labels, classes: Sequence[str], point: WorkingPoint
) -> Metric:
    values = partial(resampled_rejection, classes=classes, point=point)
    sides = [scores(logits, labels, classes, point) for logits in models]
    n_signal, n = map(len, sides[0])
    fewest = min(int(survivors(*both, np.array([point.percent / 100]))[0]) for both in sides)
    note = too_few(point, n_signal, fewest, n)
    return Metric(point.metric, point.signal, values, np.divide, n, note)


def _draws(labels: Labels, seed: int) -> Iterator[Counts]:
    """How often each jet counts: once in the sample as it is, then as drawn within the classes."""
    yield np.ones((1, len(labels)))
    size = max(1, CELLS // len(labels))
    for start in range(0, RESAMPLES, size):
        stop = min(start + size, RESAMPLES)
        yield np.stack([_drawn(labels, np.random.default_rng([seed, i])) for i in range(start, stop)])


def _drawn(labels: Labels, generator: np.random.Generator) -> Counts:
    counts = np.zeros(len(labels))
    for one in np.unique(labels):
        jets = np.flatnonzero(labels == one)
        counts[jets] = np.bincount(generator.integers(len(jets), size=len(jets)), minlength=len(jets))
    return counts


def _changed(
    metric: Metric, reference: NDArray[np.floating], other: NDArray[np.floating]
) -> tuple[float, ...]:
    """Value of both models, the change between them, and its interval; NaN if it is not measured."""
    if metric.note:
        return (np.nan,) * 5
    change = metric.change(other, reference)
    low, high = np.quantile(change[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return reference[0], other[0], change[0], low, high
