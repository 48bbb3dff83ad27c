"""Is attention binary? How sharply each query attends, and to whom (arXiv 2412.03673, 2512.00210)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from softjet.attention.chance import Chance, is_extreme, most_chosen
from softjet.attention.stream import Seen, Statistic
from softjet.attention.sums import Ratio


def binary(thresholds: Sequence[float], chance: Chance) -> Statistic:
    """How binary attention is, beside what random logits of the same number and spread give.

    Every ratio is a share of queries or a mean over queries. `above`: the largest weight exceeds the
    threshold; `above_other`: the same on another particle than the query; `extreme`: no weight lies between
    .1 and .9; `effective_keys`: exp(entropy); `largest`: the largest weight; `self`: it is on the query
    itself; `mutual`: the largest weight of that key comes back to the query; `hub`: it is on the key that is
    chosen by most queries of its jet.

    Parameters
    ----------
    thresholds : sequence of float
        Those that `chance` knows.
    chance : Chance
        By `softjet.attention.chance.tabulate`, for as many keys as the longest jet has particles.
    """
    loads = most_chosen(int(chance.sizes[-1])).float()

    def measure(seen: Seen) -> list[Ratio]:
        expected = _expected(seen, chance)
        found = [
            ratio
            for threshold in thresholds
            for ratio in _above(seen, threshold, *expected[f"above_{threshold:g}"])
        ]
        measured = {
            "extreme": is_extreme(seen.largest),
            "effective_keys": effective_keys(seen),
            "largest": seen.largest,
        }
        found += [
            Ratio(name, seen.over_queries(values), seen.queries, *expected[name])
            for name, values in measured.items()
        ]
        return found + _choices(seen, loads)

    return Statistic(measure)


def effective_keys(seen: Seen) -> Tensor:
    """exp(entropy) of each query's weights, (B, H, P).

    The entropy is -ln of the largest weight plus how far its logit lies above the mean one, weighted.
    """
    return (seen.described.rise - seen.largest.log()).exp()


def is_mutual(seen: Seen) -> Tensor:
    """Queries whose key's largest weight is on them, and which are not that key; bool (B, H, P)."""
    return (seen.key.gather(-1, seen.key) == seen.places) & ~seen.to_itself


def queries_on_hub(seen: Seen) -> Tensor:
    """Queries whose largest weight is on the key that most queries of the jet choose, (B, H)."""
    chosen = torch.zeros_like(seen.largest)
    chosen.scatter_add_(-1, seen.key, seen.jets.real[:, None].to(chosen).expand(chosen.shape))
    return chosen.amax(-1)


def _above(seen: Seen, threshold: float, null: Tensor, error: Tensor) -> list[Ratio]:
    above, n = seen.largest > threshold, seen.queries
    other = 1 - 1 / n
    return [
        Ratio("above", seen.over_queries(above), n, null, error, threshold),
        Ratio(
            "above_other",
            seen.over_queries(above & ~seen.to_itself),
            n,
            null * other,
            error * other,
            threshold,
        ),
    ]


def _choices(seen: Seen, loads: Tensor) -> list[Ratio]:
    """Who is chosen. By chance every key is, alike, and so the expectations are exact."""
    n = seen.queries
    return [
        Ratio("self", seen.over_queries(seen.to_itself), n, torch.ones_like(n)),
        Ratio("mutual", seen.over_queries(is_mutual(seen)), n, 1 - 1 / n),
        Ratio("hub", queries_on_hub(seen), n, loads.to(n.device)[n.long()]),
    ]


def _expected(seen: Seen, chance: Chance) -> dict[str, tuple[Tensor, Tensor]]:
    """Sums over queries of what random logits give, and their errors, each (B, H), by name."""
    values, errors = (part.movedim(-1, 0) for part in chance.expect(seen.jets.n, seen.described.variance))
    return dict(zip(chance.names, zip(values, errors, strict=True), strict=True))
