import numpy as np
import pytest
import torch

from softjet.attention.queries import Jets
from softjet.config.part import ParTModel
from softjet.part.model import ParticleTransformer

SHAPE = ParTModel(
    features="kin",
    classes=10,
    embed_dims=(16, 32, 16),
    pair_embed_dims=(8,),
    heads=2,
    blocks=3,
    class_blocks=2,
)


@pytest.fixture
def model():
    """A small network whose random weights are large enough to make attention uneven."""
    torch.manual_seed(0)
    network = ParticleTransformer(SHAPE)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "in_proj" in name:
                weight.mul_(1.5)
    return network.eval()


def make_jets(lengths, size, seed=0, padding=0.0):
    """Features, vectors, mask of random jets, and what is known of them; padding holds `padding`."""
    generator = np.random.default_rng(seed)
    real = np.arange(size) < np.asarray(lengths)[:, None]
    draw = [generator.normal(size=(10, len(lengths), size)).astype(np.float32) for _ in range(2)]
    pt, eta, phi = np.exp(draw[0][0] + 2), 0.3 * draw[0][1], 0.3 * draw[0][2]
    vectors = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)], 1)
    features = np.swapaxes(draw[1][:7], 0, 1)
    inputs = [np.where(real[:, None], part, padding).astype(np.float32) for part in (features, vectors)]
    known = Jets(
        jet=np.arange(len(lengths), dtype=np.int32),
        label=np.arange(len(lengths), dtype=np.int8) % 10,
        real=real,
        subjet=generator.integers(0, 3, real.shape).astype(np.int8),
        identity=generator.integers(0, 5, real.shape).astype(np.int8),
    )
    return (*(torch.from_numpy(part) for part in inputs), torch.from_numpy(real[:, None])), known


@pytest.fixture
def jets_of():
    return make_jets


@pytest.fixture
def jets():
    return make_jets([5, 9, 12, 1], 12)
