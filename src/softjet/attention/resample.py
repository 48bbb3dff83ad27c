"""Bootstrap over jets that are held in memory."""

import numpy as np
from numpy.typing import NDArray

from softjet.attention.statistics import FEWEST_JETS


def resample(label: NDArray[np.int64], times: int, seed: int) -> NDArray[np.float64]:
    """How often each jet is drawn in each bootstrap resample.

    Jets are drawn within their class, because the sample has a fixed number of each.

    Parameters
    ----------
    label : (J,)
        Class of each jet.
    times : int
        Resamples.
    seed : int
        Of the draws.

    Returns
    -------
    (times, J)
        Counts; a class of fewer than FEWEST_JETS has NaN.
    """
    generator = np.random.default_rng(seed)
    counts = np.full((times, len(label)), np.nan)
    for one in np.unique(label):
        jets = np.flatnonzero(label == one)
        if len(jets) >= FEWEST_JETS:
            counts[:, jets] = generator.multinomial(len(jets), np.full(len(jets), 1 / len(jets)), times)
    return counts
