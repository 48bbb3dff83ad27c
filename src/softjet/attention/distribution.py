"""How attention weights are distributed between 0 and 1, beside those of random logits."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from softjet.attention.counts import count_bins
from softjet.attention.nulls import centre_rows, row_variance
from softjet.attention.reading import Jets
from softjet.attention.stream import Seen, Statistic
from softjet.attention.sums import SHARE, Ratio
from softjet.part.blocks import without_padding

BINS = 20
"""Bins of equal width on [0, 1] (arXiv 2412.03673)."""

EVERY = 32
"""Counting all pairs takes long: one jet in this many is enough."""

RESAMPLES = 100
"""Of the bootstrap: bins of every layer, head and class are many numbers."""


def distribution(seed: int) -> Statistic:
    """Share of the ordered pairs of a jet's particles whose weight lies in each bin.

    `weight`: `threshold` is the bin's lower edge; a particle with itself is a pair, and 1 belongs to the last
    bin. Null: Gaussian logits of which each row has exactly the variance of the recorded one. One draw a jet
    serves all its layers and heads, each at its own spread.

    Parameters
    ----------
    seed : int
        Of the draws; with the jet's key it decides them.
    """
    return Statistic(partial(_distribution, draw=_Draw(seed)), EVERY, resamples=RESAMPLES)


class _Draw:
    """Of a batch: Gaussian rows of mean 0 and variance 1, (B, 1, P, P), 0 at padding."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, jets: Jets) -> Tensor:
        whole = torch.zeros(*jets.real.shape, jets.real.shape[1])
        for place, (key, n) in enumerate(zip(jets.key.tolist(), jets.n.tolist(), strict=True)):
            draws = np.random.default_rng((self.seed, key)).standard_normal((n, n), np.float32)
            whole[place, :n, :n] = torch.from_numpy(draws)
        gauss = centre_rows(whole[:, None], jets.real.cpu())
        variance = row_variance(gauss, jets.real.cpu()).clamp_min(torch.finfo(gauss.dtype).tiny)
        return (gauss / variance.sqrt()[..., None]).to(jets.real.device)


def _distribution(seen: Seen, draw: _Draw) -> list[Ratio]:
    logits = seen.shared.once(draw) * seen.described.variance.sqrt()[..., None]
    random = (logits + without_padding(seen.jets.real, logits)).softmax(-1)
    found, null = (count_bins(weights, seen.jets.n, BINS) for weights in (seen.weights, random))
    pairs = seen.queries.square()
    return [
        Ratio("weight", top, pairs, expected, threshold=place / BINS, limits=SHARE)
        for place, (top, expected) in enumerate(zip(found.unbind(-1), null.unbind(-1), strict=True))
    ]
