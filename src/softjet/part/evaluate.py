"""How well a classifier of jets does: accuracy, AUC, rejection and confusion, from its logits.

Every interval is a 95 % one. Those of a class's accuracy are Clopper-Pearson's on the counts; that of the
accuracy over all is normal, from the classes' own errors; that of the AUC is normal, with the standard error
of a U-statistic; those of rejections are percentiles over draws of signal and background, each on their own,
so they hold the uncertainty of the threshold as well.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import binomtest, norm
from sklearn.metrics import confusion_matrix

from softjet.jets.schema import CLASSES
from softjet.part.auc import macro_auc
from softjet.part.rejection import (
    WorkingPoint,
    quoted,
    rejection_interval,
    scores,
    survivors,
    too_few,
    working_points,
)

RESAMPLES = 1000
LEVEL = 0.95
COLUMNS = ("metric", "class", "value", "low", "high", "n", "survivors", "note")
ROC_COLUMNS = ("class", "background", "efficiency", "rejection", "survivors", "n", "quoted")

Logits = NDArray[np.floating]
Labels = NDArray[np.integer]


def metrics_table(
    logits: Logits, labels: Labels, classes: Sequence[str] = CLASSES, seed: int = 1
) -> pd.DataFrame:
    """Accuracy (over all and by class), macro one-versus-one AUC and rejection at each working point.

    Parameters
    ----------
    logits : array, shape (N, C)
    labels : array of int, shape (N,)
    classes : sequence of str
        Names of the C classes. Rejections are of all but the background class, where there is one
        (`softjet.part.rejection`).
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    DataFrame
        metric ("accuracy", "auc", "rejection_50", ...), class ("all" or a name), value, low, high, n (jets
        that the value is of: for a rejection, background jets), survivors (background jets above the
        threshold) and note. Where a value is not measured it is NaN, and note says why.
        The accuracy over all is the mean of the classes' accuracies: that of equally many jets of each
        class, as the published test sets have, whatever the test set here holds.
    """
    generator = np.random.default_rng(seed)
    rows = [("accuracy", "all", *_interval(*accuracy(logits, labels, len(classes))), len(labels), None, "")]
    rows += [_class_accuracy(logits[labels == i], i, name) for i, name in enumerate(classes)]
    rows.append(_auc(logits, labels, classes))
    rows += [_rejection(logits, labels, classes, point, generator) for point in working_points(classes)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"survivors": "Int64"})


def accuracy(logits: Logits, labels: Labels, n_classes: int) -> tuple[float, float]:
    """Mean accuracy of the classes that have jets, and its standard error.

    The error uses (k + 1/2) / (n + 1) for k right of n jets, so that a class without a mistake has one too.
    """
    right = np.bincount(labels[logits.argmax(1) == labels], minlength=n_classes)
    n = np.bincount(labels, minlength=n_classes)
    right, n = right[n > 0], n[n > 0]
    share = (right + 0.5) / (n + 1)
    return float((right / n).mean()), float(np.sqrt((share * (1 - share) / n).sum()) / len(n))


def confusion_table(logits: Logits, labels: Labels, classes: Sequence[str] = CLASSES) -> pd.DataFrame:
    """Jets of each class by the class that they are taken for.

    Returns
    -------
    DataFrame
        class, predicted, n (jets) and share (of the class's jets; NaN for a class with none).
    """
    counts = confusion_matrix(labels, logits.argmax(1), labels=range(len(classes)))
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    names = np.array(classes)
    return pd.DataFrame(
        {
            "class": names.repeat(len(classes)),
            "predicted": np.tile(names, len(classes)),
            "n": counts.ravel(),
            "share": shares.ravel(),
        }
    )


def roc_table(
    logits: Logits, labels: Labels, classes: Sequence[str] = CLASSES, points: int = 200
) -> pd.DataFrame:
    """Rejection of background jets against signal efficiency, for each other class with jets.

    Returns
    -------
    DataFrame
        class, background, efficiency, rejection (inf without survivors), survivors, n (background jets) and
        quoted: whether enough background jets survive and enough signal jets lie below the cut for the
        rejection to be quoted. No row without a background.
    """
    found = {point.signal: point for point in working_points(classes)}.values()
    curves = [_curve(*scores(logits, labels, classes, point), point, points) for point in found]
    curves = [curve for curve in curves if len(curve)]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=list(ROC_COLUMNS))


def _curve(
    signal: NDArray[np.floating], background: NDArray[np.floating], point: WorkingPoint, points: int
) -> pd.DataFrame:
    if not len(signal) or not len(background):
        return pd.DataFrame()
    efficiencies = np.unique(np.ceil(np.linspace(0, 1, points + 1)[1:] * len(signal))) / len(signal)
    passing = survivors(signal, background, efficiencies)
    with np.errstate(divide="ignore"):
        rejection = len(background) / passing
    names = {"class": point.signal, "background": point.background}
    values = {"efficiency": efficiencies, "rejection": rejection, "survivors": passing}
    counts = {"n": len(background), "quoted": quoted(len(signal), efficiencies, passing)}
    return pd.DataFrame({**names, **values, **counts})[list(ROC_COLUMNS)]


def logits_table(
    logits: Logits, labels: Labels, rows: NDArray[np.integer], classes: Sequence[str] = CLASSES
) -> pd.DataFrame:
    """A jet a row: row (its place in the jet tables), label, and one logit_* column a class."""
    names = [f"logit_{name}" for name in classes]
    table = pd.DataFrame(np.asarray(logits, dtype=np.float32), columns=names)
    return pd.concat([pd.DataFrame({"row": rows, "label": labels.astype(np.int8)}), table], axis=1)


def _class_accuracy(logits: Logits, label: int, name: str) -> tuple:
    if not len(logits):
        return "accuracy", name, math.nan, math.nan, math.nan, 0, None, "not measured (no jets)"
    right = binomtest(int((logits.argmax(1) == label).sum()), len(logits))
    interval = right.proportion_ci(LEVEL, method="exact")
    return "accuracy", name, right.statistic, interval.low, interval.high, len(logits), None, ""


def _auc(logits: Logits, labels: Labels, classes: Sequence[str]) -> tuple:
    absent = [name for i, name in enumerate(classes) if not (labels == i).any()]
    if absent:
        note = f"not measured (no jets of {', '.join(absent)})"
        return "auc", "all", math.nan, math.nan, math.nan, len(labels), None, note
    found = macro_auc(softmax(np.asarray(logits, dtype=np.float64), axis=1), labels)
    return "auc", "all", *_interval(*found), len(labels), None, ""


def _interval(value: float, error: float) -> tuple[float, float, float]:
    """Value of a share and its normal interval, within 0 and 1."""
    reach = norm.isf((1 - LEVEL) / 2) * error
    return value, max(0.0, value - reach), min(1.0, value + reach)


def _rejection(
    logits: Logits,
    labels: Labels,
    classes: Sequence[str],
    point: WorkingPoint,
    generator: np.random.Generator,
) -> tuple:
    signal, background = scores(logits, labels, classes, point)
    place, n = (point.metric, point.signal), len(background)
    if not len(signal) or not n:
        return *place, math.nan, math.nan, math.nan, n, None, "not measured (no jets)"
    efficiency = point.percent / 100
    passing = int(survivors(signal, background, np.array([efficiency]))[0])
    if note := too_few(point, len(signal), passing, n):
        return *place, math.nan, math.nan, math.nan, n, passing, note
    low, high = rejection_interval(signal, background, efficiency, generator, RESAMPLES, LEVEL)
    return *place, n / passing, low, high, n, passing, ""
