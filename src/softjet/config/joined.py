"""Section of the configuration about attention and probes of compressed Particle Transformers."""

from pydantic import Field

from softjet.config.attention import Weights
from softjet.config.section import Section


class Joined(Section):
    """Jets on which compressed Particle Transformers are compared with the dense one."""

    jets: int = Field(500, ge=40)
    """Test jets that every model reads, equally many of each class."""
    train_jets: int = Field(500, ge=40)
    """Validation jets that the probes are fitted on, equally many of each class."""
    batch_size: int = Field(32, ge=1)
    """Jets at a time."""
    residual: float = Field(1e-4, gt=0)
    """Largest |out_proj(A V) - block output|, or |softmax(logits) - A|, that is accepted (float32)."""
    thresholds: Weights = (0.5, 0.8, 0.9)
    """A query counts as binary above these largest weights."""
    bootstrap: int = Field(300, ge=100)
    """Bootstrap resamples of jets for every interval."""
    seed: int = Field(1, ge=0)
    """Seed of the jets and of the bootstrap."""
