"""Learning by soft thresholds: they rise against the task until the budget is met."""

import math

import torch
from torch import Tensor

from softjet.lowrank.run import Run


def threshold_penalty(run: Run) -> Tensor:
    """w_c times the sum over matrices of exp(-alpha), which falls as thresholds rise."""
    factors = run.factors
    height = torch.exp(-torch.stack([f.alpha for f in factors]))
    if run.settings.count_weighted:
        sizes = height.new_tensor([math.prod(f.shape) for f in factors])
        height = height * sizes / sizes.mean()
    return run.weight * height.sum()


def raise_pressure(run: Run) -> None:
    """Raise the weight of the compression term, step by step, once half of the phase is over.

    With a fixed weight the task may hold the thresholds in balance for ever at any size of the model.
    """
    if run.step - run.began >= run.limit / 2:
        run.weight *= run.settings.pressure ** (2 / run.limit)
