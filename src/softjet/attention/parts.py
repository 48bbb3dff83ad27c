"""QK against U: which part of the logits, that of the particles or the pair bias, makes a weight large.

Softmax ignores a shift of a row, so both parts are compared after each row's mean is taken away;
but for `ratio`, which takes them as they are, as arXiv 2512.00210 does.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from softjet.attention.counts import count_above
from softjet.attention.described import Described
from softjet.attention.spectrum import EVERY_SPECTRUM, FEWEST_PARTICLES
from softjet.attention.stream import Seen, Statistic
from softjet.attention.sums import POSITIVE, SHARE, Ratio

DECADES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""|QK| / |U| that pairs are counted above (arXiv 2512.00210)."""

ENERGIES = (0.9, 0.95, 0.99)
"""Shares of the energy of U that a rank is given for."""

EVERY_PARTS, EVERY_RATIO = 8, 32
"""What takes long looks at one jet in this many."""


def parts(thresholds: Sequence[float]) -> dict[str, Statistic]:
    """Statistics of QK against U.

    Per layer and head. Shares of queries: `same_key_qk`, `same_key_bias`: the largest weight stays on its key
    with that part alone (random: of a key chosen blindly); `above_qk`, `above_bias`: the largest weight of
    that part alone exceeds the threshold; `winner_by_bias`: U adds more to the winning logit than QK. Means
    over queries: `largest_qk`, `largest_bias`; `winner_qk`, `winner_bias`: how far each part of the winning
    logit lies above its row's mean. Of the variance of the logits in a row: `variance_qk`, `variance_bias`,
    `variance_both` (twice the covariance; the three add up to 1). Share of pairs: `ratio`, those whose |QK|
    exceeds |U| times the threshold.

    Per head, since all layers share U: `rank`, mean number of singular values of U with the share
    `threshold` of its energy, rows centred and without the diagonal; `diagonal`, mean height of U of a
    particle with itself above the row's mean.
    """
    return {
        "parts": Statistic(lambda seen: _parts(seen, thresholds), EVERY_PARTS),
        "ratio": Statistic(_ratio, EVERY_RATIO),
        "spectrum": Statistic(_spectrum, EVERY_SPECTRUM, by_layer=False),
    }


def _parts(seen: Seen, thresholds: Sequence[float]) -> list[Ratio]:
    parts = {"qk": (seen.qk, seen.qk_alone), "bias": (seen.bias, seen.shared.bias_alone)}
    winner = {name: seen.at(logits, seen.key) - one.mean for name, (logits, one) in parts.items()}
    found = [ratio for name, (_, one) in parts.items() for ratio in _alone(seen, name, one, thresholds)]
    found += [
        Ratio(f"winner_{name}", seen.over_queries(height), seen.queries) for name, height in winner.items()
    ]
    by_bias = seen.over_queries(winner["bias"] > winner["qk"])
    found.append(Ratio("winner_by_bias", by_bias, seen.queries, limits=SHARE))
    return found + _variances(seen)


def _alone(seen: Seen, name: str, one: Described, thresholds: Sequence[float]) -> list[Ratio]:
    """How a part of the logits does alone."""
    n = seen.queries
    same_key = seen.over_queries(one.key == seen.key)
    return [
        Ratio(f"same_key_{name}", same_key, n, torch.ones_like(n), limits=SHARE),
        Ratio(f"largest_{name}", seen.over_queries(one.largest), n, limits=SHARE),
        *(
            Ratio(f"above_{name}", seen.over_queries(one.largest > t), n, threshold=t, limits=SHARE)
            for t in thresholds
        ),
    ]


def _variances(seen: Seen) -> list[Ratio]:
    whole, qk, bias = (
        seen.over_queries(one.variance) for one in (seen.described, seen.qk_alone, seen.shared.bias_alone)
    )
    shares = {"qk": qk, "bias": bias, "both": whole - qk - bias}
    return [Ratio(f"variance_{name}", share, whole) for name, share in shares.items()]


def _ratio(seen: Seen) -> list[Ratio]:
    above = count_above(seen.qk, seen.bias, seen.jets.n, DECADES).unbind(-1)
    pairs = seen.queries.square()
    return [
        Ratio("ratio", count, pairs, threshold=decade, limits=SHARE)
        for decade, count in zip(DECADES, above, strict=True)
    ]


def _spectrum(seen: Seen) -> list[Ratio]:
    centred, diagonal = without_diagonal(seen.bias, seen.jets.real)
    long = (seen.jets.n >= FEWEST_PARTICLES).float()[:, None].expand(seen.queries.shape)
    ranks = energy_ranks(centred, ENERGIES)
    found = [
        Ratio("rank", rank * long, long, threshold=energy, limits=POSITIVE)
        for energy, rank in zip(ENERGIES, ranks, strict=True)
    ]
    return [*found, Ratio("diagonal", seen.over_queries(diagonal), seen.queries)]


def without_diagonal(bias: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of U with the mean over other particles taken away.

    Parameters
    ----------
    bias : (B, H, P, P)
    real : (B, P) bool
        Real particles.

    Returns
    -------
    centred : (B, H, P, P)
        0 on the diagonal and at padding.
    diagonal : (B, H, P)
        The diagonal above the row's mean over the others.
    """
    others = (real[:, :, None] & real[:, None, :]).to(bias)[:, None]
    others.diagonal(dim1=-2, dim2=-1).zero_()
    mean = (bias * others).sum(-1) / others.sum(-1).clamp_min(1)
    return (bias - mean[..., None]) * others, bias.diagonal(dim1=-2, dim2=-1) - mean


def energy_ranks(matrices: Tensor, shares: Sequence[float]) -> list[Tensor]:
    """Number of singular values that hold each share of the energy (sum of squares) of (..., P, P)."""
    energies = torch.linalg.eigvalsh(matrices @ matrices.mT).flip(-1).clamp_min(0).cumsum(-1)
    some = energies[..., -1] > 0
    return [(energies < share * energies[..., -1:]).sum(-1) + some for share in shares]
