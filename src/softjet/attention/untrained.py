"""The untrained twin of a network: the same shape and inputs, random weights."""

from collections.abc import Iterable

import torch
from torch import nn

from softjet.config.part import ParTModel
from softjet.part.model import ParticleTransformer
from softjet.part.prediction import JetBatch


def untrained(config: ParTModel, seed: int, batches: Iterable[JetBatch]) -> ParticleTransformer:
    """Network with initial weights, normalised to the jets it will see.

    What a BatchNorm has counted is not learned but measured: a network about to be trained normalises its
    inputs and pair features by each batch, while one that has counted nothing leaves them raw, and its
    attention far more even than in the first step of training. So the statistics are measured first.

    Parameters
    ----------
    config : ParTModel
        Shape.
    seed : int
        Of the initial weights.
    batches : iterable of JetBatch
        Jets to measure on; their labels are not used. All batches count alike.

    Returns
    -------
    ParticleTransformer
        In evaluation mode.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ParticleTransformer(config).eval()
    momenta = {module: module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm1d)}
    for norm in momenta:
        # Without a momentum, a norm keeps the plain average over batches.
        norm.train().momentum = None
    with torch.no_grad():
        for batch in batches:
            model(batch.features, batch.vectors, batch.mask)
    for norm, momentum in momenta.items():
        norm.momentum = momentum
    return model.eval()
