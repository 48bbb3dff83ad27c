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
    variance : variance of the logits over the real keys.
    """

    largest: Tensor
    key: Tensor
    rise: Tensor
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
    largest, rise, variance = (np.zeros(w.shape[:3], w.dtype) for _ in range(3))
    _describe(w, x, n.cpu().numpy(), largest, key, rise, variance)
    return Described(
        *(torch.from_numpy(found).to(weights.device) for found in (largest, key, rise, variance))
    )


# Sums in any order, so that several terms are added at once.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nnan", "nsz"})
def _describe(
    weights: Values,
    logits: Values,
    n: NDArray[np.int64],
    largest: Values,
    key: NDArray[np.int64],
    rise: Values,
    variance: Values,
) -> None:
    zero = weights.dtype.type(0)
    for jet in range(len(n)):
        size = n[jet]
        for head in range(weights.shape[1]):
            for query in range(size):
                w, x = weights[jet, head, query], logits[jet, head, query]
                top, total, mean_logit = zero, zero, zero
                for j in range(size):
                    top = max(top, w[j])
                    total += x[j]
                    mean_logit += w[j] * x[j]
                place = 0
                while place < size - 1 and w[place] < top:
                    place += 1
                mean, spread = total / size, zero
                for j in range(size):
                    off = x[j] - mean
                    spread += off * off
                largest[jet, head, query], key[jet, head, query] = top, place
                rise[jet, head, query] = x[place] - mean_logit
                variance[jet, head, query] = spread / size
