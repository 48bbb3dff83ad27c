import pytest
import torch
from small_part import SMALL, Jets

from softjet.part.model import ParticleTransformer


@pytest.fixture
def jets() -> Jets:
    return Jets(64)


@pytest.fixture
def model() -> ParticleTransformer:
    """A small model whose statistics and scales are not those it is born with."""
    torch.manual_seed(1)
    small = ParticleTransformer(SMALL)
    with torch.no_grad():
        for parameter in small.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for name, buffer in small.named_buffers():
            if "running" in name:
                buffer.copy_(0.5 + torch.rand_like(buffer))
    return small.eval()
