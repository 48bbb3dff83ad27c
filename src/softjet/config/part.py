"""Sections of the configuration about Particle Transformer: shape and training."""

from typing import Literal

from pydantic import Field

from softjet.config.section import Section

N_FEATURES = {"kin": 7, "kinpid": 13, "full": 17}


class ParTModel(Section):
    """Shape of a Particle Transformer; the defaults are the published model (arXiv 2202.03772)."""

    features: Literal["kin", "kinpid", "full"] = "full"
    """Feature set of the particles: 7, 13 or 17 features."""
    max_particles: int = Field(128, ge=2)
    """Hardest particles of a jet that the model sees."""
    classes: int = Field(10, ge=2)
    """Classes told apart."""
    embed_dims: tuple[int, ...] = (128, 512, 128)
    """Widths of the particle embedding; the last is the width of the model."""
    pair_embed_dims: tuple[int, ...] = (64, 64, 64)
    """Widths of the pair embedding, before the one channel a head."""
    heads: int = Field(8, ge=1)
    """Attention heads; they divide the width."""
    blocks: int = Field(8, ge=1)
    """Particle attention blocks."""
    class_blocks: int = Field(2, ge=1)
    """Class attention blocks."""
    expansion: int = Field(4, ge=1)
    """Width of the feed-forward layer in units of the model's width."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout in the particle blocks (published: 0.1); random numbers can take half of a processor's time."""
    normalisation: Literal["renormalised", "published"] = "renormalised"
    """`renormalised`: training normalises as evaluation does (arXiv 1702.03275); `published`: BatchNorm."""


class Training(Section):
    """How a Particle Transformer is trained."""

    epochs: float = Field(4, gt=0)
    """Passes over the training split."""
    batch_size: int = Field(128, ge=2)
    """Jets a step."""
    learning_rate: float = Field(0.0007, gt=0)
    """Peak learning rate of AdamW."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of steps in which the learning rate rises."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay of the matrices."""
    clip: float = Field(1.0, gt=0)
    """Largest gradient norm."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 autocast where the processor multiplies bfloat16 matrices, else float32."""
    validate_every: int = Field(100, ge=1)
    """Steps between two validations."""
    save_every: float = Field(60.0, gt=0)
    """Seconds between two saved states, from which a killed training goes on."""
    seed: int = Field(1, ge=0)
    """Seed of initial weights, order of jets and dropout."""


class ParTRun(Section):
    """A Particle Transformer: its data, shape and training."""

    dataset: str = "simulated"
    """Name of the dataset it learns from."""
    model: ParTModel = ParTModel()
    """Shape."""
    training: Training = Training()
    """Training."""
