"""Queries counted by what they choose, and pairs by what stands at them, by one look at each.

On a processor, whichever device the attention is on, as `softjet.attention.described`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

Values = NDArray[np.float32]


class Choices(NamedTuple):
    """Queries of a jet by what they choose, float32 (B, H) each.

    above, above_other : lists of them, by threshold: queries whose largest weight exceeds it, and those of
        them that choose another particle.
    largest : sum of the largest weights.
    itself : queries that choose themselves.
    mutual : those that are chosen by the key that they choose, another particle.
    hub : those that choose the key that most queries choose.
    """

    above: list[Tensor]
    above_other: list[Tensor]
    largest: Tensor
    itself: Tensor
    mutual: Tensor
    hub: Tensor


def choose(largest: Tensor, key: Tensor, n: Tensor, thresholds: Sequence[float]) -> Choices:
    """Count the queries of a layer by what they choose.

    Parameters
    ----------
    largest, key : (B, H, P)
        Largest weight of each query, and its key.
    n : (B,) int
        Particles of each jet; they stand before its padding.
    thresholds : sequence of float
        For `above`.
    """
    top, choice, size = (part.cpu().numpy() for part in (largest, key, n))
    limits = np.array(thresholds, top.dtype)
    sums = np.zeros((2 * len(limits) + 4, *top.shape[:2]), np.float32)
    _count(top, choice, size, limits, sums)
    counts = list(torch.from_numpy(sums).to(n.device))
    return Choices(counts[: len(limits)], counts[len(limits) : -4], *counts[-4:])


def count_bins(weights: Tensor, n: Tensor, bins: int) -> Tensor:
    """Pairs of real particles whose weight lies in each of `bins` bins of equal width on [0, 1].

    Parameters
    ----------
    weights : (B, H, P, P)
        1 belongs to the last bin. None is NaN.
    n : (B,) int
        Particles of each jet; they stand before its padding.
    bins : int

    Returns
    -------
    (B, H, bins) float32
    """
    counts = np.zeros((*weights.shape[:2], bins), np.float32)
    _bin(weights.cpu().contiguous().numpy(), n.cpu().numpy(), counts)
    return torch.from_numpy(counts).to(weights.device)


def count_above(one: Tensor, other: Tensor, n: Tensor, factors: Sequence[float]) -> Tensor:
    """Pairs of real particles at which |one| exceeds |other| times each factor.

    Parameters
    ----------
    one, other : (B, H, P, P)
    n : (B,) int
        Particles of each jet; they stand before its padding.
    factors : sequence of float

    Returns
    -------
    (B, H, factors) float32
    """
    a, b = (part.cpu().contiguous().numpy() for part in (one, other))
    counts = np.zeros((*a.shape[:2], len(factors)), np.float32)
    _exceed(a, b, n.cpu().numpy(), np.array(factors, a.dtype), counts)
    return torch.from_numpy(counts).to(one.device)


@njit(cache=True, nogil=True)
def _count(
    largest: Values,
    key: NDArray[np.int64],
    n: NDArray[np.int64],
    limits: Values,
    sums: Values,
) -> None:
    some = len(limits)
    for jet in range(len(n)):
        for head in range(largest.shape[1]):
            top, choice, own = largest[jet, head], key[jet, head], sums[:, jet, head]
            chosen = np.zeros(n[jet], np.int64)
            for query in range(n[jet]):
                other = choice[query] != query
                for place in range(some):
                    above = top[query] > limits[place]
                    own[place] += above
                    own[some + place] += above and other
                own[-4] += top[query]
                own[-3] += not other
                own[-2] += other and choice[choice[query]] == query
                chosen[choice[query]] += 1
            own[-1] = chosen.max() if n[jet] else 0


@njit(cache=True, nogil=True)
def _bin(weights: Values, n: NDArray[np.int64], counts: Values) -> None:
    last = counts.shape[2] - 1
    for jet in range(len(n)):
        for head in range(weights.shape[1]):
            for query in range(n[jet]):
                for weight in weights[jet, head, query, : n[jet]]:
                    counts[jet, head, min(int(weight * counts.shape[2]), last)] += 1


@njit(cache=True, nogil=True)
def _exceed(one: Values, other: Values, n: NDArray[np.int64], factors: Values, counts: Values) -> None:
    for jet in range(len(n)):
        size = n[jet]
        for head in range(one.shape[1]):
            for query in range(size):
                a, b = one[jet, head, query], other[jet, head, query]
                for place in range(len(factors)):
                    factor, above = factors[place], 0
                    for j in range(size):
                        above += abs(a[j]) > factor * abs(b[j])
                    counts[jet, head, place] += above
