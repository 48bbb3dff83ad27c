"""Sections of the configuration about learned ranks."""

from typing import Literal

from pydantic import Field

from softjet.config.section import Section


class Matrices(Section):
    """Linear layers of one kind, named by their place in the model."""

    path: str
    """Path of the layers in the model; `*` stands for one component: blocks.*.attention.out_proj."""
    pieces: tuple[str, ...] = ()
    """Names of the equally high matrices packed in the layer along its outputs; each gets its own rank."""


class Selection(Section):
    """Which linear layers of a model get a rank, and what its blocks are."""

    matrices: tuple[Matrices, ...]
    """The linear layers; every path names at least one."""
    blocks: tuple[str, ...]
    """Paths of the lists of blocks; every selected layer lies in one of them."""


PART_SELECTION = Selection(
    matrices=tuple(
        Matrices(path=f"{stack}.*.{layer}", pieces=pieces)
        for stack in ("blocks", "class_blocks")
        for layer, pieces in (
            ("attention.in_proj", ("query", "key", "value")),
            ("attention.out_proj", ()),
            ("expand", ()),
            ("contract", ()),
        )
    ),
    blocks=("blocks", "class_blocks"),
)
"""Particle Transformer: the four linear layers of each block, query, key and value apart (60 matrices)."""


class RankLearning(Section):
    """Soft-threshold rank learning: learn to the budget, recover, fuse."""

    keep: float = Field(0.5, gt=0, lt=1)
    """Share of the parameters that stay."""
    of: Literal["linears", "blocks", "total"] = "total"
    """Which parameters the share is of: the compressed matrices, the blocks, or the whole model."""
    learn_steps: int = Field(150, ge=1)
    """Most steps of the learning phase; it ends when the budget is met, and must meet it."""
    recover_steps: int = Field(150, ge=0)
    """Steps of the recovery phase, ranks fixed."""
    batch_size: int = Field(64, ge=2)
    """Examples a step."""
    learning_rate: float = Field(0.0002, gt=0)
    """Learning rate of weights while ranks are learned."""
    threshold_rate: float = Field(0.02, gt=0)
    """Learning rate of the thresholds, in units of each matrix's median singular value."""
    recover_rate: float = Field(0.0005, gt=0)
    """Learning rate at the start of the recovery phase; it falls linearly to zero."""
    weight: float = Field(0.1, gt=0)
    """Weight of the compression term at the start."""
    pressure: float = Field(1e4, ge=1)
    """Factor by which that weight rises in the second half of the phase, if it gets there; 1 fixes it."""
    count_weighted: bool = False
    """Weigh a matrix's compression term by its number of parameters."""
    sharpness: float = Field(50.0, gt=0)
    """Steepness s of the soft threshold."""
    redecompose_every: int = Field(50, ge=1)
    """Steps of the learning phase between two fresh singular value decompositions."""
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
