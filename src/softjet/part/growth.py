"""How time and memory of Particle Transformer grow with the particles of a jet."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from softjet.config.part import N_FEATURES, ParTModel
from softjet.part.model import ParticleTransformer
from softjet.part.speed import WAYS, Inputs


def jets_of_length(shape: ParTModel, jets: int, particles: int, seed: int = 1) -> Inputs:
    """Jets without padding: massless particles about one axis, and features of random numbers.

    For measurements of time and memory, which depend on sizes alone.

    Parameters
    ----------
    shape : ParTModel
        Its feature set.
    jets, particles : int
        Jets, and particles of each.
    seed : int
        Of the random numbers.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    pt, eta, phi = normal(jets, particles).exp(), *normal(2, jets, particles) * 0.3
    vectors = torch.stack([pt * phi.cos(), pt * phi.sin(), pt * eta.sinh(), pt * eta.cosh()], dim=1)
    features = normal(jets, N_FEATURES[shape.features], particles)
    return features, vectors, torch.ones(jets, 1, particles, dtype=torch.bool)


def answers(
    shape: ParTModel, way: str, jets: int, particles: Iterable[int]
) -> dict[int, Callable[[], Tensor]]:
    """Calls that give logits of so many jets, by their number of particles.

    Parameters
    ----------
    shape : ParTModel
        Of the network; its weights are random.
    way : str
        One of `softjet.part.speed.WAYS`.
    jets : int
        Jets a call, in one batch.
    particles : iterable of int
        Particles of all jets of a call.
    """
    torch.manual_seed(1)
    network = WAYS[way](ParticleTransformer(shape))
    return {size: partial(network, *jets_of_length(shape, jets, size)) for size in particles}


@torch.inference_mode()
def answer(shape: Mapping[str, Any], way: str, jets: int, particles: int) -> None:
    """Make a network and run it once; arguments as of `answers`, the shape as plain values."""
    answers(ParTModel.model_validate(shape), way, jets, [particles])[particles]()
