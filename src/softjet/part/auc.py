"""Macro one-versus-one AUC with its standard error."""

import math
from itertools import permutations

import numpy as np
from numpy.typing import NDArray


def macro_auc(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> tuple[float, float]:
    """Macro one-versus-one AUC and its standard error.

    The mean over ordered pairs of classes (i, j) of the probability that a jet of i has a higher score i than
    a jet of j (D. Hand, R. Till, Machine Learning 45 (2001) 171). The error is that of a U-statistic: the
    spread of each jet's own contribution (E. DeLong et al., Biometrics 44 (1988) 837), here over all pairs;
    scikit-learn gives the same value, but no error.

    Parameters
    ----------
    probabilities : array, shape (N, C)
    labels : array of int, shape (N,)
        Every class has a jet.
    """
    contributions = auc_contributions(probabilities, labels)
    value = sum(jets.mean() for jets in contributions) / 2
    variance = sum(jets.var() / len(jets) for jets in contributions)
    return float(value), math.sqrt(variance)


def auc_contributions(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> list[NDArray[np.floating]]:
    """What each jet contributes to the macro AUC, an array a class; half the sum of their means is the AUC.

    Parameters
    ----------
    probabilities, labels
        As for :func:`macro_auc`.
    """
    n_classes = probabilities.shape[1]
    members = [probabilities[labels == i] for i in range(n_classes)]
    contributions: list[NDArray[np.floating]] = [np.zeros(len(jets)) for jets in members]
    pairs = list(permutations(range(n_classes), 2))
    for i, j in pairs:
        above, below = members[i][:, i], members[j][:, i]
        contributions[i] += _share_below(above, below) / len(pairs)
        contributions[j] += (1 - _share_below(below, above)) / len(pairs)
    return contributions


def _share_below(scores: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.floating]:
    """Share of the others below each score; a tie counts half."""
    others = np.sort(others)
    left, right = (np.searchsorted(others, scores, side) for side in ("left", "right"))
    return (left + right) / (2 * len(others))
