"""Margins by which methods that do not learn ranks admit directions to the budget."""

import torch
from torch import Tensor

from softjet.lowrank.factors import Factors


def by_share(factors: Factors) -> Tensor:
    """Margins that give every matrix the same share of its parameters, shape (k,), falling."""
    m, n = factors.shape
    ranks = torch.arange(1, min(m, n) + 1)
    # Not as they are counted: past break-even a pair's margins would fall no more.
    return -ranks * (m + n - (ranks if factors.form == "pivot" else 0)) / (m * n)


@torch.no_grad()
def by_energy(factors: Factors) -> Tensor:
    """Margins that give every matrix the same share of its energy, shape (k,), falling.

    The energy of a matrix is the sum of its squared singular values. A direction comes when the common share
    passes what the larger ones hold, so that the admitted ones hold at least the share. Those of a matrix of
    zeros come last.
    """
    energy = factors.spectrum().double().sort(descending=True).values.square()
    whole = energy.sum()
    return -(energy.cumsum(0) - energy) / whole if whole > 0 else torch.full_like(energy, -1.0)
