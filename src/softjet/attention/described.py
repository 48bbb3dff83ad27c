"""Rows of attention in a few numbers each, by one look at every row."""

from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

Values = NDArray[np.float32]


class Described(NamedTuple):
    """What the statistics ask of every query's row; 0 for padded queries, each (B, H, P).

    largest : largest weight.
    key : its key, the first of equal ones, int64.
    rise : how far the logit of that key lies above the mean logit, weighted by the weights.
    mean, variance : of the logits over the real keys.
    """

    largest: Tensor
    key: Tensor
    rise: Tensor
    mean: Tensor
    variance: Tensor


def describe(weights: Tensor, logits: Tensor, n: Tensor) -> Described:
    """Describe every row of a layer's attention.

    On a processor, whichever device the attention is on: each operation of PyTorch would pass over all of it.

    Parameters
    ----------
    weights, logits : (B, H, P, P)
        The one is the softmax of the other; rows are queries, columns keys. None is NaN.
    n : (B,) int
        Particles of each jet; they stand before its padding.
    """
    w, x = (part.cpu().contiguous().numpy() for part in (weights, logits))
    key = np.zeros(w.shape[:3], np.int64)
    largest, rise, mean, variance = (np.zeros(w.shape[:3], w.dtype) for _ in range(4))
    found = largest, key, rise, mean, variance
    _describe(w, x, n.cpu().numpy(), *found)
    return Described(*(torch.from_numpy(one).to(weights.device) for one in found))


# Sums in any order, so that several terms are added at once.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nnan", "nsz"})
def _describe(
    weights: Values,
    logits: Values,
    n: NDArray[np.int64],
    largest: Values,
    key: NDArray[np.int64],
    rise: Values,
    mean: Values,
    variance: Values,
) -> None:
    zero = weights.dtype.type(0)
    for jet in range(len(n)):
        size = n[jet]
        for head in range(weights.shape[1]):
            for query in range(size):
                w, x = weights[jet, head, query], logits[jet, head, query]
                top, total, weighted = zero, zero, zero
                for j in range(size):
                    top = max(top, w[j])
                    total += x[j]
                    weighted += w[j] * x[j]
                middle, spread, place = total / size, zero, np.int32(size)
                for j in range(np.int32(size)):
                    off = x[j] - middle
                    spread += off * off
                    # Not a search that ends when it has found, which takes one key at a time.
                    place = min(place, np.int32(j) if w[j] == top else np.int32(size))
                place = min(place, size - 1)  # of rows that are not numbers, which the caller finds
                largest[jet, head, query], key[jet, head, query] = top, place
                rise[jet, head, query] = x[place] - weighted
                mean[jet, head, query], variance[jet, head, query] = middle, spread / size
