"""Sections of the configuration about time measurement."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt

from softjet.config.section import Section, each_once

Sizes = Annotated[
    tuple[PositiveInt, ...],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    AfterValidator(each_once),
]
"""Different sizes of batches."""


class Latency(Section):
    """Interleaved time measurement of dense against compressed models."""

    batches: Sizes = (1, 64)
    """Jets a call; of sizes beyond the test jets one is measured."""
    language_batches: Sizes = (1, 8)
    """Windows or sentences a call of a language model."""
    rows: int = Field(512, ge=1)
    """Rows of a product (tokens or particles of a call) when it is timed by rank, for budgets of time."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of these products."""
    samples: int = Field(30, ge=5)
    """Timed calls of each variant and batch."""
    warmup: int = Field(5, ge=1)
    """Calls of each variant before the clock counts."""
    bootstrap: int = Field(2000, ge=100)
    """Bootstrap resamples for the interval of the median ratio."""
    noise: float = Field(0.2, gt=0)
    """A ratio is given up to this relative width of its interval and change between the two halves."""
    seed: int = Field(1, ge=0)
    """Seed of the jets chosen and of the bootstrap."""
