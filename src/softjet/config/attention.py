"""Sections of the configuration about attention: recording and statistics."""

from typing import Annotated

from pydantic import AfterValidator, Field

from softjet.config.section import Section, each_once

Weights = Annotated[
    tuple[Annotated[float, Field(gt=0, lt=1)], ...],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    AfterValidator(each_once),
]
"""Different attention weights."""


class Attention(Section):
    """Which attention is recorded and how it is summarised."""

    jets: int = Field(200, ge=10)
    """Test jets whose queries are recorded one by one, equally many of each class."""
    maps: int = Field(20, ge=1)
    """Test jets whose attention maps are kept whole."""
    statistics_jets: int = Field(5000, ge=10)
    """Test jets at most that statistics are made of; each class has an equal part, or what there is of it."""
    growth_jets: int = Field(500, ge=10)
    """The same for the checkpoints of a training."""
    batch_size: int = Field(48, ge=1)
    """Jets looked at at a time."""
    residual: float = Field(1e-4, gt=0)
    """Largest |out_proj(A V) - block output|, or |softmax(logits) - A|, that is accepted (float32)."""
    thresholds: Weights = (0.5, 0.8, 0.9)
    """A query counts as binary above these largest weights."""
    bootstrap: int = Field(300, ge=100)
    """Bootstrap resamples of jets for every interval."""
    seed: int = Field(1, ge=0)
    """Seed of the jets chosen, of the random null and of the bootstrap."""
