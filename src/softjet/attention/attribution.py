"""The pair bias of the winning key, shared out among ln kT, ln z, ln Delta and ln m^2.

Shapley values (L. S. Shapley, Contributions to the Theory of Games II (1953) 307): the bias of a head is a
function of four numbers; each gets the mean of what it changes when it goes from the baseline to its value,
over all orders in which the four can go. They add up to U(pair) - U(baseline) exactly. The baseline is the
jet's mean pair: the mean of each of the four over its pairs of different particles. Of correlated features,
and these four are, a Shapley value says what the function does with each, not what could be done without it.
"""

from collections.abc import Mapping
from math import factorial
from typing import NamedTuple

import torch
from torch import Tensor

from softjet.attention.partners import other_pairs
from softjet.attention.reading import Jets
from softjet.attention.stream import Seen, Statistic
from softjet.attention.sums import Ratio
from softjet.part.model import ParticleTransformer
from softjet.part.pairs import N_PAIR_FEATURES, Pairs, pair_features, symmetric_bias

FEATURES = ("kt", "z", "delta", "m2")
"""In the order of `softjet.part.pairs.pair_features`."""

EVERY = 64
"""Sixteen passes of the pair embedding take long: one jet in this many is enough."""


def attribution(model: ParticleTransformer) -> Statistic:
    """What makes the pair bias of the winning key high, and QK beside.

    Means over the queries whose largest weight is on another particle: `shapley_kt`, `shapley_z`,
    `shapley_delta`, `shapley_m2`: contribution of that pair's ln kT, ln z, ln Delta and ln m^2 to its bias U;
    `bias_rise`: their sum, U of the pair less U of the jet's mean pair; `qk_rise`: QK of the pair above the
    mean of its row. Null: another particle chosen blindly.

    Parameters
    ----------
    model : ParticleTransformer
        Whose attention is read.
    """
    shapley = _Shapley(model)

    def measure(seen: Seen) -> list[Ratio]:
        others, parts = seen.shared.once(shapley)
        return _ratios(seen, parts | {"qk_rise": _rise(seen, others)})

    return Statistic(measure, EVERY)


class _Part(NamedTuple):
    """A value of every pair (B, H, P, P), and its mean over the other particles than the query (B, H, P)."""

    value: Tensor
    blindly: Tensor


def _ratios(seen: Seen, parts: Mapping[str, _Part]) -> list[Ratio]:
    counted = ~seen.to_itself
    queries = seen.over_queries(counted)
    return [
        Ratio(
            name,
            seen.over_queries(seen.at(part.value, seen.key) * counted),
            queries,
            seen.over_queries(part.blindly * counted),
        )
        for name, part in parts.items()
    ]


def _rise(seen: Seen, others: Tensor) -> _Part:
    """QK above the mean of its row; over all keys it adds up to 0, so the others' is that of the query."""
    rise = seen.qk - seen.qk_alone.mean[..., None]
    return _Part(rise, -rise.diagonal(dim1=-2, dim2=-1) / _keys(others))


def _keys(others: Tensor) -> Tensor:
    """How many keys a query has other than itself, at least 1, (B, 1, P)."""
    return others.sum(-1).clamp_min(1)[:, None]


class _Shapley:
    """Of a batch: pairs of different particles (B, P, P), and Shapley values of the bias and their sum."""

    def __init__(self, model: ParticleTransformer) -> None:
        self.model = model

    def __call__(self, jets: Jets) -> tuple[Tensor, dict[str, _Part]]:
        others = other_pairs(jets.real)
        pairs = Pairs(*others.tril().nonzero(as_tuple=True))
        features = pair_features(jets.vectors, pairs, self.model.config.pair_mass)
        values = shapley_values(self.model.pair_embed, features, mean_pairs(features, pairs, len(jets)))
        named = dict(zip((f"shapley_{name}" for name in FEATURES), values.unbind(-1), strict=True))
        named["bias_rise"] = values.sum(-1)
        shape = (len(jets), jets.real.shape[1])
        return others, {name: _part(symmetric_bias(v, pairs, shape), others) for name, v in named.items()}


def _part(value: Tensor, others: Tensor) -> _Part:
    return _Part(value, (value * others[:, None]).sum(-1) / _keys(others))


def mean_pairs(features: Tensor, pairs: Pairs, jets: int) -> Tensor:
    """Baseline of each pair, (n, 4): the mean of `features` (n, 4) over the pairs of its jet."""
    total = features.new_zeros(jets, N_PAIR_FEATURES).index_add_(0, pairs.jet, features)
    count = torch.bincount(pairs.jet, minlength=jets)
    return (total / count.clamp_min(1)[:, None])[pairs.jet]


def shapley_values(embed: torch.nn.Module, features: Tensor, baseline: Tensor) -> Tensor:
    """Contribution of each feature to what a function gives.

    Parameters
    ----------
    embed : Module
        (n, 4) to (n, H).
    features, baseline : (n, 4)

    Returns
    -------
    (n, H, 4)
        They add up to embed(features) - embed(baseline).
    """
    size = features.shape[1]
    subsets = [[bool(number >> place & 1) for place in range(size)] for number in range(2**size)]
    given = [embed(torch.where(features.new_tensor(s).bool(), features, baseline)) for s in subsets]
    columns = [torch.zeros_like(given[0]) for _ in range(size)]
    for number, subset in enumerate(subsets):
        for place in range(size):
            if not subset[place]:
                rise = given[number | 1 << place] - given[number]
                columns[place] += _weight(sum(subset), size) * rise
    return torch.stack(columns, -1)


def _weight(before: int, size: int) -> float:
    """Share of the orders in which given others, `before` of them, come before a feature."""
    return factorial(before) * factorial(size - before - 1) / factorial(size)
