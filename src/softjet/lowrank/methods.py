"""What sets one method of rank learning apart from the others; the loop is the same for all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor

from softjet.config.lowrank import Method, RankLearning
from softjet.lowrank.baselines import by_energy, by_share
from softjet.lowrank.factors import Factors
from softjet.lowrank.gates import MaskGate, NewGate, soft_gate
from softjet.lowrank.mask import mask_penalty, raise_mask_weight
from softjet.lowrank.run import Run
from softjet.lowrank.soft import raise_pressure, threshold_penalty


def _soft(settings: RankLearning) -> NewGate:
    return partial(soft_gate, sharpness=settings.sharpness)


@dataclass(frozen=True)
class Learning:
    """How ranks fall while they are learned.

    Attributes
    ----------
    penalty : callable
        What is added to the task loss.
    weight, rate : callable
        From the settings to the penalty's weight at the start and to the learning rate of the gates.
    raise_weight : callable
        Called after every step.
    """

    penalty: Callable[[Run], Tensor]
    weight: Callable[[RankLearning], float]
    rate: Callable[[RankLearning], float]
    raise_weight: Callable[[Run], None]


@dataclass(frozen=True)
class Procedure:
    """A method.

    Attributes
    ----------
    margins : callable, optional
        From a matrix to the margins by which its directions are admitted to the budget; None if every matrix
        stays dense.
    learning : Learning, optional
        None if ranks are chosen before the first step.
    sees : "weights", "inputs" or "loss"
        What the size of a direction is: its singular value, or what it carries to the outputs, or to the
        loss, on `calibration` batches.
    gate : callable
        From the settings to what makes the gate of a matrix from its number of directions.
    """

    margins: Callable[[Factors], Tensor] | None
    learning: Learning | None = None
    sees: Literal["weights", "inputs", "loss"] = "weights"
    gate: Callable[[RankLearning], NewGate] = _soft


THRESHOLDS = Learning(
    penalty=threshold_penalty,
    weight=lambda settings: settings.weight,
    rate=lambda settings: settings.threshold_rate,
    raise_weight=raise_pressure,
)
"""Thresholds that rise until the budget is met."""

PROCEDURES: Mapping[Method, Procedure] = {
    "soft-threshold": Procedure(Factors.margins, THRESHOLDS),
    "whitened-soft-threshold": Procedure(Factors.margins, THRESHOLDS, sees="inputs"),
    "fisher-soft-threshold": Procedure(Factors.margins, THRESHOLDS, sees="loss"),
    "learned-mask": Procedure(
        Factors.margins,
        Learning(
            penalty=mask_penalty,
            weight=lambda settings: settings.mask_weight,
            rate=lambda settings: settings.mask_rate,
            raise_weight=raise_mask_weight,
        ),
        gate=lambda _: MaskGate,
    ),
    "svd": Procedure(by_share),
    "energy-svd": Procedure(by_energy),
    "whitened-svd": Procedure(by_share, sees="inputs"),
    "fisher-svd": Procedure(Factors.margins, sees="loss"),
    "dense": Procedure(None),
}
