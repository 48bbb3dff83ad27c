"""Metrics on many bootstrap resamples at once: an example drawn k times counts k times."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Outputs = NDArray[np.floating]
Labels = NDArray[np.integer]
Counts = NDArray[np.floating]
Values = Callable[[Outputs, Labels, Counts], NDArray[np.floating]]

CELLS = 16_000_000
"""Most counts held at a time; with float64 they take 128 MB."""


class Metric(NamedTuple):
    """What is measured, how two values of it are compared, and which of them is better."""

    values: Values
    """Outputs (N, ...), labels (N,) and counts (R, N) to R values; NaN where it cannot be measured."""
    ratio: bool = False
    """Whether a change is a ratio (perplexity, rejection); else it is a difference."""
    better: Literal["higher", "lower"] = "higher"
    """Which values are the better ones."""


def of_sums(
    parts: Callable[[Outputs, Labels], NDArray[np.floating]],
    value: Callable[[NDArray[np.floating]], NDArray[np.floating]],
) -> Values:
    """Values of a metric that is a function of sums over examples.

    Parameters
    ----------
    parts : callable
        Outputs and labels to what each example adds, shape (N, S).
    value : callable
        Sums (R, S) to values (R,).
    """
    return lambda outputs, labels, counts: value(counts @ np.asarray(parts(outputs, labels), float))


def of_examples(metric: Callable[[Outputs, Labels], float]) -> Values:
    """Values of any function of outputs and labels; it is called once a resample."""

    def values(outputs: Outputs, labels: Labels, counts: Counts) -> NDArray[np.floating]:
        drawn = (np.repeat(np.arange(len(labels)), row) for row in counts.astype(int))
        return np.array([metric(outputs[examples], labels[examples]) for examples in drawn])

    return values


def draw_counts(strata: NDArray, resamples: int, seed: int) -> Iterator[Counts]:
    """How often each example counts: once in the sample as it is, then as drawn in each resample.

    Every stratum is drawn as often as it has examples, since a test set has a given number of each class.

    Parameters
    ----------
    strata : array, shape (N,)
        Stratum of each example.
    resamples : int
        Resamples.
    seed : int
        Of the draws.

    Yields
    ------
    array, shape (r, N)
        1 + `resamples` rows in all, in pieces of bounded memory; the first row is ones.
    """
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == one) for one in np.unique(strata)]
    yield np.ones((1, len(strata)))
    size = max(1, CELLS // len(strata))
    for start in range(0, resamples, size):
        counts = np.empty((min(size, resamples - start), len(strata)))
        for examples in members:
            n = len(examples)
            # Places of a resample stand after those of the one before, so that one count serves them all.
            drawn = generator.integers(n, size=(len(counts), n)) + n * np.arange(len(counts))[:, None]
            counts[:, examples] = np.bincount(drawn.ravel(), minlength=counts.shape[0] * n).reshape(-1, n)
        yield counts
