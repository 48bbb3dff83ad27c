"""Learning by a mask: a score for each direction, pressed down until the budget is met (ACIP)."""

import torch
from torch import Tensor

from softjet.lowrank.gates import MaskGate
from softjet.lowrank.run import Run

GROWTH_EVERY = 4
"""Steps between two rises of the weight."""


def mask_penalty(run: Run) -> Tensor:
    """Weight times the L1 norm of all scores.

    References
    ----------
    ACIP (arXiv 2502.01717): a score a direction passes it where positive, its gradient goes straight through
    that step, and the weight of the norm rises by a factor every four steps.
    """
    gates = [factors.gate for factors in run.factors if isinstance(factors.gate, MaskGate)]
    return run.weight * torch.stack([gate.l1() for gate in gates]).sum()


def raise_mask_weight(run: Run) -> None:
    """Raise the weight of the norm every four steps."""
    if (run.step - run.began) % GROWTH_EVERY == 0:
        run.weight *= run.settings.mask_growth
