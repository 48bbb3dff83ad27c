"""Rejection of background jets at fixed signal efficiency, the field's measure of a tagger.

Rejection at X % is 1 / FPR where X % of the signal jets pass, with score p_S / (p_S + p_B)
(arXiv 2202.03772, section 5).
"""

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
    """Percentile interval of a rejection by bootstrap over jets, signal and background each on their own.

    The background jets of a resample that pass a threshold are binomial, so they are drawn by number.
    """
    drawn = generator.choice(signal, (resamples, len(signal)))
    place = len(signal) - int(kept_signal(len(signal), np.array([efficiency]))[0])
    thresholds = np.partition(drawn, place, axis=1)[:, place]
    n = len(background)
    share = 1 - np.searchsorted(np.sort(background), thresholds, side="left") / n
    passing = generator.binomial(n, share)
    low, high = np.quantile(n / np.maximum(1, passing), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def kept_signal(jets: int, efficiencies: Scores) -> NDArray[np.integer]:
    """Signal jets that are kept; a share times a count may miss a whole number by its last bit."""
    return np.maximum(np.ceil(np.round(efficiencies * jets, 9)).astype(int), 1)
