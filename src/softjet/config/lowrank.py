"""Sections of the configuration about learned ranks."""

from typing import Literal

from pydantic import Field

from softjet.config.section import Section


class RankLearning(Section):
    """Soft-threshold rank learning: learn to the budget, recover, fuse."""

    keep: float = Field(0.5, gt=0, lt=1)
    """Share of the parameters that stay."""
    of: Literal["linears", "blocks", "total"] = "total"
    """Which parameters the share is of: the compressed matrices, the blocks, or the whole model."""
    learn_steps: int = Field(200, ge=1)
    """Most steps of the learning phase; it ends when the budget is met."""
    recover_steps: int = Field(150, ge=0)
    """Steps of the recovery phase, ranks fixed."""
    batch_size: int = Field(128, ge=2)
    """Examples a step."""
    learning_rate: float = Field(0.0002, gt=0)
    """Learning rate of weights while ranks are learned."""
    threshold_rate: float = Field(0.01, gt=0)
    """Learning rate of the thresholds, in units of each matrix's own scale."""
    recover_rate: float = Field(0.0005, gt=0)
    """Learning rate of the recovery phase."""
    weight: float = Field(0.1, gt=0)
    """Weight of the compression term."""
    count_weighted: bool = False
    """Weigh a matrix's compression term by its number of parameters."""
    sharpness: float = Field(50.0, gt=0)
    """Steepness s of the soft threshold."""
    rank_multiple: int = Field(1, ge=1)
    """Ranks are rounded to multiples of this when they are fixed."""
    rank_floor: int = Field(8, ge=1)
    """No matrix falls below this rank."""
    save_every: float = Field(60.0, gt=0)
    """Seconds between two saved states, from which a killed run goes on."""
    seed: int = Field(1, ge=0)
    """Seed of the order of examples and of dropout."""


class Compression(Section):
    """A trained model and how its ranks are learned."""

    base: str = "reference"
    """Name of the trained run that is compressed."""
    learning: RankLearning = RankLearning()
    """Rank learning."""
