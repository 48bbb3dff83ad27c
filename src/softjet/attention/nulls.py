"""What attention looks like without learning: random logits, and an untrained network."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def row_variance(logits: Tensor, real: Tensor) -> Tensor:
    """Variance of each query's logits over its real keys.

    A row's softmax does not change when the row is shifted, so the variance is all that a row without
    structure has.

    Parameters
    ----------
    logits : (B, H, P, P)
        qk + bias.
    real : (B, P) bool
        Real particles.

    Returns
    -------
    (B, H, P)
        Mean squared deviation from the row's mean; 0 for padded queries.
    """
    centred = centre_rows(logits, real)
    return centred.square().sum(-1) / real.sum(-1)[:, None, None]


def centre_rows(logits: Tensor, real: Tensor) -> Tensor:
    """Take each row's mean over real keys away; 0 where query or key is padding. Shapes as above."""
    pairs = (real[:, :, None] & real[:, None, :])[:, None]
    mean = logits.masked_fill(~pairs, 0).sum(-1, keepdim=True) / real.sum(-1)[:, None, None, None]
    return (logits - mean).masked_fill(~pairs, 0)


def random_attention(variance: Tensor, real: Tensor, seeds: Sequence[tuple[int, ...]]) -> Tensor:
    """Softmax of Gaussian logits with the row variance asked for.

    Each row's variance is exactly that of the recorded row (not only on average), so the null differs from
    the record in nothing but which keys are large and in the shape of the distribution.

    Parameters
    ----------
    variance : (B, H, P)
        Of the recorded rows, by `row_variance`.
    real : (B, P) bool
        Real particles.
    seeds : sequence of B tuples of int
        One a jet, so that a jet's null does not depend on the jets beside it.

    Returns
    -------
    (B, H, P, P) float32
        Weights; 0 where query or key is padding.
    """
    gauss = centre_rows(_gaussian(variance.shape, real, seeds), real)
    spread = (variance / row_variance(gauss, real).clamp_min(torch.finfo(gauss.dtype).tiny)).sqrt()
    logits = (gauss * spread[..., None]).masked_fill(~real[:, None, None, :], -torch.inf)
    return logits.softmax(-1).masked_fill(~real[:, None, :, None], 0)


def _gaussian(shape: torch.Size, real: Tensor, seeds: Sequence[tuple[int, ...]]) -> Tensor:
    """Standard normal numbers (B, H, P, P) at real pairs; each jet has its own stream."""
    noise = np.zeros((*shape, shape[-1]), np.float32)
    for jet, (seed, present) in enumerate(zip(seeds, real.numpy(), strict=True)):
        places = np.flatnonzero(present)
        draws = np.random.default_rng(seed).standard_normal((shape[1], len(places), len(places)), np.float32)
        noise[jet][:, places[:, None], places] = draws
    return torch.from_numpy(noise)
