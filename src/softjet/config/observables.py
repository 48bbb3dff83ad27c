"""Section of the configuration about traditional jet observables: probes and correlations."""

from pydantic import Field

from softjet.config.section import Section


class Observables(Section):
    """Jets on which a network's states and attention are compared with traditional observables."""

    train_jets: int = Field(1000, ge=40)
    """Validation jets that the probes are fitted on, equally many of each class."""
    jets: int = Field(1000, ge=40)
    """Test jets that probes and correlations are measured on, equally many of each class."""
    subjets: int = Field(3, ge=2)
    """Exclusive kT subjets of every jet, the same for all classes, so that they do not tell the class."""
    threshold: float = Field(0.8, gt=0, lt=1)
    """A query counts as binary above this largest weight."""
    batch_size: int = Field(64, ge=1)
    """Jets at a time."""
    residual: float = Field(1e-4, gt=0)
    """Largest |out_proj(A V) - block output|, or |softmax(logits) - A|, that is accepted (float32)."""
    bootstrap: int = Field(300, ge=100)
    """Bootstrap resamples of jets for every interval."""
    seed: int = Field(1, ge=0)
    """Seed of the jets and of the bootstrap."""
