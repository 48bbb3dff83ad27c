"""Attention of a layer in a few numbers a jet."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from softjet.attention.reading import Jets
from softjet.attention.sample import subjets

SUMMARIES = ("effective_keys", "entropy", "binary", "self", "within_subjet", "distance")
"""Means over a jet's queries and a layer's heads; `summarise` says of what."""


def summaries_of(jets: Jets, subjets_each: int, threshold: float) -> Callable[[Tensor], Tensor]:
    """Give `summarise` for the layers of a batch, from weights (B, H, P, P) to (B, S).

    Parameters
    ----------
    jets : Jets
        The batch.
    subjets_each : int
        Exclusive kT subjets of every jet.
    threshold : float
        Largest weight above which a query is binary.
    """
    number = np.full(len(jets), subjets_each)
    found = subjets(jets.vectors.cpu().numpy(), number, jets.real.cpu().numpy())
    subjet = torch.from_numpy(found).to(jets.mask.device)
    place = torch.stack([jets.column("part_deta"), jets.column("part_dphi")], -1)
    # Differences, not the product of matrices that cdist prefers for many particles, which rounds.
    distance = torch.cdist(place, place, compute_mode="donot_use_mm_for_euclid_dist")
    return partial(summarise, real=jets.real, subjet=subjet, distance=distance, threshold=threshold)


def summarise(weights: Tensor, real: Tensor, subjet: Tensor, distance: Tensor, threshold: float) -> Tensor:
    """Summaries of the attention of a layer, each a mean over the queries of a jet and all heads.

    effective_keys: exp(entropy of the weights); entropy: relative to that of even weights, so that the number
    of particles alone does not show; binary: share of queries whose largest weight exceeds the threshold;
    self: share whose largest weight is on themselves; within_subjet: weight on particles of the query's own
    subjet, itself included; distance: mean distance in eta and phi of query and key, by weight.

    Parameters
    ----------
    weights : (B, H, P, P)
        Rows are queries; 0 where query or key is padding.
    real : (B, P) bool
    subjet : (B, P)
    distance : (B, P, P)
        In eta and phi.
    threshold : float

    Returns
    -------
    (B, S)
        In the order of `SUMMARIES`.
    """
    entropy = torch.special.entr(weights).sum(-1)
    largest, key = weights.max(-1)
    n = real.sum(1)[:, None, None]
    own = (subjet[:, :, None] == subjet[:, None, :])[:, None]
    scores = (
        entropy.exp(),
        entropy / n.clamp_min(2).log(),
        (largest > threshold).to(weights),
        (key == torch.arange(key.shape[-1], device=key.device)).to(weights),
        (weights * own).sum(-1),
        (weights * distance[:, None]).sum(-1),
    )
    return torch.stack([_mean(score, real) for score in scores], 1)


def _mean(score: Tensor, real: Tensor) -> Tensor:
    """Mean of (B, H, P) over real queries and heads, (B,)."""
    return score.masked_fill(~real[:, None], 0).sum((1, 2)) / (real.sum(1) * score.shape[1])
