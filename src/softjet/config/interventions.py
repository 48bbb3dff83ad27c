"""Sections of the configuration about what attention is good for: interventions and top-k attention."""

from typing import Annotated

from pydantic import AfterValidator, Field, PositiveInt

from softjet.config.part import Training
from softjet.config.section import Section, each_once

Ks = Annotated[
    tuple[PositiveInt, ...], Field(json_schema_extra={"uniqueItems": True}), AfterValidator(each_once)
]
"""Numbers of weights that a query keeps, each once."""


class Interventions(Section):
    """Edges and heads that are cut, or replaced by another jet's, and the jets that this is tried on."""

    jets: int = Field(100, ge=10)
    """Test jets that are intervened on, equally many of each class."""
    donors: int = Field(3000, ge=10)
    """Test jets that may give their attention to another, the former among them."""
    rejection_jets: int = Field(500, ge=10)
    """Of these, balanced as well, those that rejections under cuts in all layers are measured on."""
    background: int = Field(6000, ge=0)
    """Further test jets of the background (QCD, gluon) for these rejections; 0: none are measured."""
    subjets: int = Field(3, ge=2)
    """Exclusive kT subjets of every jet, the same for all classes, so that they do not tell the class."""
    batch_size: int = Field(32, ge=1)
    """Jets at a time."""
    bootstrap: int = Field(500, ge=100)
    """Bootstrap resamples of jets for every interval."""
    seed: int = Field(1, ge=0)
    """Seed of the jets, of the random edges and of the bootstrap."""


class TopK(Section):
    """Attention to the k largest weights of a query alone."""

    keep: Ks = Field((1, 2, 4, 8), min_length=1)
    """Weights that a query keeps; what keeps all is always beside them."""
    class_blocks: bool = False
    """Whether the class token's attention is cut too."""
    jets: int = Field(1000, ge=10)
    """Test jets, equally many of each class."""
    background: int = Field(6000, ge=0)
    """Further test jets of the background (QCD, gluon), for the rejections."""
    tuned: Ks = (1,)
    """Those that are fine-tuned as well, each against a dense network fine-tuned as long; may be empty."""
    steps: int = Field(40, ge=1)
    """Steps of fine-tuning."""
    batch_size: int = Field(32, ge=2)
    """Jets a step of fine-tuning, and jets a timed call."""
    learning_rate: float = Field(0.0001, gt=0)
    """Peak learning rate of fine-tuning."""
    samples: int = Field(20, ge=5)
    """Timed calls of each variant."""
    seed: int = Field(1, ge=0)
    """Seed of the jets, of fine-tuning and of the bootstraps."""

    @property
    def training(self) -> Training:
        """The fine-tuning."""
        return Training(
            steps=self.steps, batch_size=self.batch_size, learning_rate=self.learning_rate, seed=self.seed
        )
