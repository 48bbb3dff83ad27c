"""Accuracy, AUC and rejections of many bootstrap resamples of jets at once.

Each function takes logits (N, C), labels (N,) and counts (R, N), how often each resample holds each jet, and
gives R values. A resample holds as many jets of each class as the sample does.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from softjet.part.auc import auc_contributions
from softjet.part.rejection import WorkingPoint, kept_signal, too_few, working_points

Logits = NDArray[np.floating]
Labels = NDArray[np.integer]
Counts = NDArray[np.floating]
Values = Callable[[Logits, Labels, Counts], NDArray[np.floating]]


def resampled_metrics(classes: Sequence[str]) -> dict[str, Values]:
    """Metrics by name: accuracy, auc, and "rejection_50 Hbb" at every working point of the classes."""
    rejections = {
        f"{point.metric} {point.signal}": partial(resampled_rejection, classes=classes, point=point)
        for point in working_points(classes)
    }
    return {"accuracy": resampled_accuracy, "auc": resampled_auc, **rejections}


def resampled_accuracy(logits: Logits, labels: Labels, counts: Counts) -> NDArray[np.floating]:
    """Mean accuracy of the classes that have jets."""
    right = (logits.argmax(1) == labels) / np.bincount(labels)[labels]
    return counts @ right / len(np.unique(labels))


def resampled_auc(logits: Logits, labels: Labels, counts: Counts) -> NDArray[np.floating]:
    """Macro one-versus-one AUC, to first order in the change of the sample; NaN if a class has no jets.

    The AUC is a U-statistic, and what each jet contributes to it tells how it changes with that jet's count
    (E. DeLong et al., Biometrics 44 (1988) 837).
    """
    n = np.bincount(labels, minlength=logits.shape[1])
    if not n.all():
        return np.full(len(counts), np.nan)
    probabilities = softmax(np.asarray(logits, dtype=np.float64), axis=1)
    contributions = auc_contributions(probabilities, labels)
    change = np.zeros(len(labels))
    for i, jets in enumerate(contributions):
        change[labels == i] = (jets - jets.mean()) / len(jets)
    return sum(jets.mean() for jets in contributions) / 2 + counts @ change


def resampled_rejection(
    logits: Logits, labels: Labels, counts: Counts, classes: Sequence[str], point: WorkingPoint
) -> NDArray[np.floating]:
    """Background jets over those that pass where a share of the signal does.

    Parameters
    ----------
    logits, labels, counts
        As everywhere here.
    classes : sequence of str
        Names of the C classes.
    point : WorkingPoint

    Returns
    -------
    array, shape (R,)
        NaN if fewer than 50 background jets pass in the sample itself or fewer than ten signal jets lie
        below the cut, or if either class has no jets.
    """
    signal, background = (list(classes).index(name) for name in point[:2])
    score = logits[:, signal] - logits[:, background]
    above, below = (_descending(score, labels == i) for i in (signal, background))
    if not len(above) or not len(below):
        return np.full(len(counts), np.nan)
    kept = int(kept_signal(len(above), np.array([point.percent / 100]))[0])
    if too_few(point, len(above), int((score[below] >= score[above[kept - 1]]).sum()), len(below)):
        return np.full(len(counts), np.nan)
    thresholds = score[above[(counts[:, above].cumsum(1) >= kept).argmax(1)]]
    below = below[score[below] >= thresholds.min()]  # The others pass in no resample.
    passing = np.pad(counts[:, below].cumsum(1), ((0, 0), (1, 0)))
    places = np.searchsorted(-score[below], -thresholds, side="right")
    return (labels == background).sum() / np.maximum(1, passing[np.arange(len(counts)), places])


def _descending(score: NDArray[np.floating], chosen: NDArray[np.bool_]) -> NDArray[np.integer]:
    """Places of the chosen jets, the highest score first."""
    places = np.flatnonzero(chosen)
    return places[np.argsort(-score[places], kind="stable")]
