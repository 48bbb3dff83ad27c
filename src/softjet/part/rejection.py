"""Rejection of background jets at fixed signal efficiency, the field's measure of a tagger.

Rejection at X % is 1 / FPR where X % of the signal jets pass, with score p_S / (p_S + p_B)
(arXiv 2202.03772, section 5).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BACKGROUNDS = ("QCD", "gluon")
"""The class that is rejected: the first of these that a dataset has."""

WORKING_POINTS: dict[str, tuple[float, ...]] = {
    "Hbb": (50.0,), "Hcc": (50.0,), "Hgg": (50.0,), "H4q": (50.0,), "Hqql": (99.0,), "Zqq": (50.0,),
    "Wqq": (50.0,), "Tbqq": (50.0,), "Tbl": (99.5,), "Top": (50.0, 30.0), "quark": (50.0, 30.0),
}  # fmt: skip
"""Signal efficiencies in percent at which each class's rejection is quoted (arXiv 2202.03772)."""

OTHER_WORKING_POINTS = (50.0,)
"""Those of a class that is in no published table."""

FEWEST_SURVIVORS = 50
"""With fewer background jets above the threshold a rejection is not quoted."""

FEWEST_CUT = 10
"""With fewer signal jets below the threshold a rejection is not quoted.

What passes follows the threshold, and that is known as well as the number of signal jets below it: ten tell
it to a third (1 / sqrt(10)). A bootstrap of jets, by which models are compared, has no threshold below the
lowest signal jet: for Gaussian scores its 95 % interval of a rejection held the truth in 93 % to 96 % of 300
samples with ten jets below the threshold, in 91 % with five and in 87 % with three.
"""

Scores = NDArray[np.floating]


class WorkingPoint(NamedTuple):
    """A signal class, the class it is told from, and the percentage of signal that is kept."""

    signal: str
    background: str
    percent: float

    @property
    def metric(self) -> str:
        """Name in the tables of metrics."""
        return f"rejection_{self.percent:g}"


def background_of(classes: Sequence[str]) -> str | None:
    """Class that rejections are of; None for classes without one that the field rejects."""
    return next((name for name in BACKGROUNDS if name in classes), None)


def working_points(classes: Sequence[str]) -> list[WorkingPoint]:
    """Working points of all classes but the background; none without a background."""
    background = background_of(classes)
    if background is None:
        return []
    return [
        WorkingPoint(name, background, percent)
        for name in classes
        if name != background
        for percent in WORKING_POINTS.get(name, OTHER_WORKING_POINTS)
    ]


def scores(
    logits: Scores, labels: NDArray[np.integer], classes: Sequence[str], point: WorkingPoint
) -> tuple[Scores, Scores]:
    """ln(p_S / p_B), which orders jets as p_S / (p_S + p_B) does and never saturates.

    Parameters
    ----------
    logits : array, shape (N, C)
    labels : array of int, shape (N,)
    classes : sequence of str
        Names of the C classes.
    point : WorkingPoint

    Returns
    -------
    signal, background : arrays
        Scores of the jets of either class.
    """
    signal, background = (list(classes).index(name) for name in point[:2])
    score = logits[:, signal] - logits[:, background]
    return score[labels == signal], score[labels == background]


def survivors(signal: Scores, background: Scores, efficiencies: Scores) -> NDArray[np.integer]:
    """Count the background jets at or above the highest threshold that keeps each share of the signal.

    Parameters
    ----------
    signal, background : arrays
        Scores.
    efficiencies : array
        Shares of the signal, 0 to 1.
    """
    thresholds = np.sort(signal)[len(signal) - kept_signal(len(signal), efficiencies)]
    return len(background) - np.searchsorted(np.sort(background), thresholds, side="left")


def rejection_interval(
    signal: Scores,
    background: Scores,
    efficiency: float,
    generator: np.random.Generator,
    resamples: int,
    level: float,
) -> tuple[float, float]:
    """Percentile interval of a rejection over jets, signal and background each on their own.

    The number of signal jets below the true threshold is binomial, whatever the distribution of the scores
    (H. David, H. Nagaraja, Order Statistics (2003), section 7.1). So it is drawn, and the threshold is one
    of its two neighbours among the signal jets, at even odds. The background jets above a threshold are
    binomial and drawn by number.

    Parameters
    ----------
    signal, background : arrays
        Scores.
    efficiency : float
        Share of the signal that is kept.
    generator : Generator
    resamples : int
    level : float
        Share of samples whose interval holds the truth.
    """
    # A bootstrap of the jets would never draw a threshold below all of them.
    neighbours = np.concatenate([[-np.inf], np.sort(signal), [np.inf]])
    below = generator.binomial(len(signal), 1 - efficiency, resamples)
    thresholds = neighbours[below + generator.integers(2, size=resamples)]
    n = len(background)
    share = 1 - np.searchsorted(np.sort(background), thresholds, side="left") / n
    passing = generator.binomial(n, share)
    low, high = np.quantile(n / np.maximum(1, passing), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def too_few(point: WorkingPoint, signal: int, passing: int, background: int) -> str:
    """Note of a rejection that is not quoted: what there is, and what it would take; "" if it is quoted.

    Parameters
    ----------
    point : WorkingPoint
    signal : int
        Signal jets.
    passing, background : int
        Background jets at or above the threshold, and all.
    """
    efficiency = point.percent / 100
    cut = signal - int(kept_signal(signal, np.array([efficiency]))[0])
    if cut < FEWEST_CUT:
        needed = math.ceil(100 * FEWEST_CUT / (100 - point.percent))
        return f"not measured ({cut} of {signal} signal jets below the cut; needs {needed} signal jets)"
    if passing < FEWEST_SURVIVORS:
        needed = math.ceil(FEWEST_SURVIVORS * background / max(1, passing))
        words = "about" if passing else "over"
        return f"not measured ({passing} of {background} jets survive; needs {words} {needed})"
    return ""


def quoted(
    signal: int, efficiencies: Scores, passing: NDArray[np.integer] | NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Whether enough jets lie on the rarer side of each cut for its rejection to be quoted.

    Parameters
    ----------
    signal : int
        Signal jets.
    efficiencies : array
        Shares of the signal, 0 to 1.
    passing : array
        Background jets at or above each threshold.
    """
    enough = signal - kept_signal(signal, efficiencies) >= FEWEST_CUT
    return enough & (passing >= FEWEST_SURVIVORS)


def kept_signal(jets: int, efficiencies: Scores) -> NDArray[np.integer]:
    """Signal jets that are kept; a share times a count may miss a whole number by its last bit."""
    return np.maximum(np.ceil(np.round(efficiencies * jets, 9)).astype(int), 1)
