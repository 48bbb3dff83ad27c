"""Pairs of particles counted by what stands at them, by one look at every pair."""

from collections.abc import Sequence

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

Values = NDArray[np.float32]


def count_bins(weights: Tensor, n: Tensor, bins: int) -> Tensor:
    """Pairs of real particles whose weight lies in each of `bins` bins of equal width on [0, 1].

    On a processor, whichever device the weights are on, as `softjet.attention.described.describe`.

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
