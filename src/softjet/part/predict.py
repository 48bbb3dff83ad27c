"""Logits of any number of jets, in batches of jets of near-equal length."""

import torch
from torch import Tensor

from softjet.part.model import ParticleTransformer
from softjet.part.precision import autocast


@torch.inference_mode()
def predict(
    model: ParticleTransformer,
    features: Tensor,
    vectors: Tensor,
    mask: Tensor,
    batch_size: int = 128,
    precision: str = "auto",
) -> Tensor:
    """Logits of jets, in evaluation mode; the model's own mode is restored.

    Jets are sorted by the place of their last particle and trimmed to the longest of their batch, so that little is
    computed on padding; the order of the answer is that of the input.

    Parameters
    ----------
    model : ParticleTransformer
    features : Tensor, shape (N, F, P)
    vectors : Tensor, shape (N, 4, P)
        px, py, pz and energy in GeV.
    mask : Tensor, bool, shape (N, 1, P)
        True for a particle.
    batch_size : int
        Jets at a time.
    precision : "auto", "float32" or "bfloat16"
        See `softjet.part.precision.autocast`.

    Returns
    -------
    Tensor, float32, shape (N, C)
    """
    training = model.training
    model.eval()
    extent = (mask[:, 0] * torch.arange(1, mask.shape[-1] + 1)).amax(1)
    order = extent.argsort(stable=True)
    logits = features.new_empty(len(order), model.config.classes)
    for rows in order.split(batch_size):
        longest = int(extent[rows[-1]])
        with autocast(precision):
            batch = (tensor[rows, :, :longest] for tensor in (features, vectors, mask))
            logits[rows] = model(*batch).to(logits.dtype)
    model.train(training)
    return logits
