"""How well a classifier of jets does: accuracy, AUC, rejection and confusion, from its logits.

Every interval is a 95 % one. Those of accuracies are Clopper-Pearson's on the counts; that of the AUC is
normal, with the standard error of a U-statistic; those of rejections are percentiles of a bootstrap over
jets, signal and background each on their own, so they hold the uncertainty of the threshold as well.
"""

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import binomtest, norm
from sklearn.metrics import confusion_matrix

from softjet.jets.schema import CLASSES

BACKGROUND = "QCD"
WORKING_POINTS = {
    "Hbb": 50.0, "Hcc": 50.0, "Hgg": 50.0, "H4q": 50.0, "Hqql": 99.0, "Zqq": 50.0, "Wqq": 50.0,
    "Tbqq": 50.0, "Tbl": 99.5,
}  # fmt: skip
"""Signal efficiency in percent at which each class's rejection is quoted (arXiv 2202.03772, table 1)."""

FEWEST_SURVIVORS = 50
"""With fewer background jets above the threshold a rejection is not quoted."""

RESAMPLES = 200
LEVEL = 0.95
COLUMNS = ("metric", "class", "value", "low", "high", "n", "survivors", "note")

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
        Names of the C classes. Rejections are of those in `WORKING_POINTS`, against QCD where it is a class.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    DataFrame
        metric ("accuracy", "auc", "rejection_50", ...), class ("all" or a name), value, low, high, n (jets
        that the value is of: for a rejection, background jets), survivors (background jets above the
        threshold) and note. Where a value is not measured it is NaN, and note says why.
    """
    generator = np.random.default_rng(seed)
    rows = [_accuracy(logits, labels, "all")]
    rows += [_accuracy(logits[labels == i], labels[labels == i], name) for i, name in enumerate(classes)]
    rows.append(_auc(logits, labels, classes))
    if BACKGROUND in classes:
        rows += [
            _rejection(logits, labels, classes, name, efficiency, generator)
            for name, efficiency in WORKING_POINTS.items()
            if name in classes
        ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"survivors": "Int64"})


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
    """Rejection of QCD jets against signal efficiency, for each other class with jets.

    Returns
    -------
    DataFrame
        class, efficiency, rejection (inf without survivors), survivors, n (background jets) and quoted:
        whether enough jets survive for the rejection to be quoted.
    """
    tables = []
    for name in classes:
        signal, background = scores(logits, labels, classes, name)
        if name == BACKGROUND or not len(signal) or not len(background):
            continue
        efficiencies = np.unique(np.ceil(np.linspace(0, 1, points + 1)[1:] * len(signal))) / len(signal)
        passing = survivors(signal, background, efficiencies)
        with np.errstate(divide="ignore"):
            rejection = len(background) / passing
        columns = {"efficiency": efficiencies, "rejection": rejection, "survivors": passing}
        quoted = passing >= FEWEST_SURVIVORS
        tables.append(pd.DataFrame({"class": name, **columns, "n": len(background), "quoted": quoted}))
    return pd.concat(tables, ignore_index=True)


def logits_table(
    logits: Logits, labels: Labels, rows: NDArray[np.integer], classes: Sequence[str] = CLASSES
) -> pd.DataFrame:
    """A jet a row: row (its place in the jet tables), label, and one logit_* column a class."""
    names = [f"logit_{name}" for name in classes]
    table = pd.DataFrame(np.asarray(logits, dtype=np.float32), columns=names)
    return pd.concat([pd.DataFrame({"row": rows, "label": labels.astype(np.int8)}), table], axis=1)


def scores(
    logits: Logits, labels: Labels, classes: Sequence[str], name: str
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """ln(p_S / p_QCD), which orders jets as p_S / (p_S + p_QCD) does and never saturates.

    Returns
    -------
    signal, background : arrays
        Scores of the jets of class `name` and of the QCD jets.
    """
    signal, background = list(classes).index(name), list(classes).index(BACKGROUND)
    score = logits[:, signal] - logits[:, background]
    return score[labels == signal], score[labels == background]


def survivors(
    signal: NDArray[np.floating], background: NDArray[np.floating], efficiencies: NDArray[np.floating]
) -> NDArray[np.integer]:
    """Count the background jets at or above the highest threshold that keeps each share of the signal.

    Parameters
    ----------
    signal, background : arrays
        Scores.
    efficiencies : array
        Shares of the signal, 0 to 1.
    """
    # A share times a count may miss a whole number by its last bit.
    kept = np.ceil(np.round(efficiencies * len(signal), 9)).astype(int)
    thresholds = np.sort(signal)[len(signal) - np.maximum(kept, 1)]
    return len(background) - np.searchsorted(np.sort(background), thresholds, side="left")


def macro_auc(probabilities: NDArray[np.floating], labels: Labels) -> tuple[float, float]:
    """Macro one-versus-one AUC and its standard error.

    The mean over ordered pairs of classes (i, j) of the probability that a jet of i has a higher score i than
    a jet of j (D. Hand, R. Till, Machine Learning 45 (2001) 171). The error is that of a U-statistic: the
    spread of each jet's own contribution (E. DeLong et al., Biometrics 44 (1988) 837), here over all pairs.

    Parameters
    ----------
    probabilities : array, shape (N, C)
    labels : array of int, shape (N,)
        Every class has a jet.
    """
    n_classes = probabilities.shape[1]
    members = [probabilities[labels == i] for i in range(n_classes)]
    contributions = [np.zeros(len(jets)) for jets in members]
    pairs = list(permutations(range(n_classes), 2))
    for i, j in pairs:
        above, below = members[i][:, i], members[j][:, i]
        contributions[i] += _share_below(above, below) / len(pairs)
        contributions[j] += (1 - _share_below(below, above)) / len(pairs)
    value = sum(jets.mean() for jets in contributions) / 2
    variance = sum(jets.var() / len(jets) for jets in contributions)
    return float(value), math.sqrt(variance)


def _accuracy(logits: Logits, labels: Labels, name: str) -> tuple:
    if not len(labels):
        return "accuracy", name, math.nan, math.nan, math.nan, 0, None, "not measured (no jets)"
    right = binomtest(int((logits.argmax(1) == labels).sum()), len(labels))
    interval = right.proportion_ci(LEVEL, method="exact")
    return "accuracy", name, right.statistic, interval.low, interval.high, len(labels), None, ""


def _auc(logits: Logits, labels: Labels, classes: Sequence[str]) -> tuple:
    absent = [name for i, name in enumerate(classes) if not (labels == i).any()]
    if absent:
        note = f"not measured (no jets of {', '.join(absent)})"
        return "auc", "all", math.nan, math.nan, math.nan, len(labels), None, note
    value, error = macro_auc(softmax(np.asarray(logits, dtype=np.float64), axis=1), labels)
    reach = norm.isf((1 - LEVEL) / 2) * error
    return "auc", "all", value, value - reach, min(1.0, value + reach), len(labels), None, ""


def _share_below(scores: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.floating]:
    """Share of the others below each score; a tie counts half."""
    others = np.sort(others)
    return (np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")) / (
        2 * len(others)
    )


def _rejection(
    logits: Logits,
    labels: Labels,
    classes: Sequence[str],
    name: str,
    percent: float,
    generator: np.random.Generator,
) -> tuple:
    signal, background = scores(logits, labels, classes, name)
    metric, n = f"rejection_{percent:g}", len(background)
    if not len(signal) or not n:
        return metric, name, math.nan, math.nan, math.nan, n, None, "not measured (no jets)"
    efficiency = np.array([percent / 100])
    passing = int(survivors(signal, background, efficiency)[0])
    if passing < FEWEST_SURVIVORS:
        return metric, name, math.nan, math.nan, math.nan, n, passing, _too_few(passing, n)

    low, high = _interval(signal, background, efficiency, generator)
    return metric, name, n / passing, low, high, n, passing, ""


def _too_few(passing: int, n: int) -> str:
    needed = math.ceil(FEWEST_SURVIVORS * n / max(1, passing))
    return f"not measured ({passing} of {n} jets survive; needs {'about' if passing else 'over'} {needed})"


def _interval(
    signal: NDArray[np.floating],
    background: NDArray[np.floating],
    efficiency: NDArray[np.floating],
    generator: np.random.Generator,
) -> tuple[float, float]:
    rejections = []
    for _ in range(RESAMPLES):
        kept, passed = generator.choice(signal, len(signal)), generator.choice(background, len(background))
        rejections.append(len(background) / max(1, int(survivors(kept, passed, efficiency)[0])))
    low, high = np.quantile(rejections, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
