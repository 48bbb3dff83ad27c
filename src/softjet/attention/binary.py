"""Is attention binary? How sharply each query attends, and to whom (arXiv 2412.03673, 2512.00210)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from softjet.attention.chance import Chance, is_extreme, most_chosen
from softjet.attention.counts import choose
from softjet.attention.stream import Seen, Statistic
from softjet.attention.sums import POSITIVE, SHARE, Ratio


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
        expected, n = _expected(seen, chance), seen.queries
        choices = choose(seen.largest, seen.key, seen.jets.n, thresholds)
        counted = zip(thresholds, choices.above, choices.above_other, strict=True)
        found = [
            ratio
            for threshold, above, other in counted
            for ratio in _above(above, other, n, threshold, *expected[f"above_{threshold:g}"])
        ]
        measured = {
            "extreme": (seen.over_queries(is_extreme(seen.largest)), SHARE),
            "effective_keys": (seen.over_queries(effective_keys(seen)), POSITIVE),
            "largest": (choices.largest, SHARE),
        }
        found += [
            Ratio(name, total, n, *expected[name], limits=limits)
            for name, (total, limits) in measured.items()
        ]
        # By chance every key is chosen, alike, and so the expectations of these are exact.
        return [
            *found,
            Ratio("self", choices.itself, n, torch.ones_like(n), limits=SHARE),
            Ratio("mutual", choices.mutual, n, 1 - 1 / n, limits=SHARE),
            Ratio("hub", choices.hub, n, loads.to(n.device)[n.long()], limits=SHARE),
        ]

    return Statistic(measure)


def effective_keys(seen: Seen) -> Tensor:
    """exp(entropy) of each query's weights, (B, H, P).

    The entropy is -ln of the largest weight plus how far its logit lies above the mean one, weighted.
    """
    return (seen.described.rise - seen.largest.log()).exp()


def _above(
    any_particle: Tensor, another: Tensor, n: Tensor, threshold: float, null: Tensor, error: Tensor
) -> list[Ratio]:
    other = 1 - 1 / n
    return [
        Ratio("above", any_particle, n, null, error, threshold, SHARE),
        Ratio("above_other", another, n, null * other, error * other, threshold, SHARE),
    ]


def _expected(seen: Seen, chance: Chance) -> dict[str, tuple[Tensor, Tensor]]:
    """Sums over queries of what random logits give, and their errors, each (B, H), by name."""
    values, errors = (part.movedim(-1, 0) for part in chance.expect(seen.jets.n, seen.described.variance))
    return dict(zip(chance.names, zip(values, errors, strict=True), strict=True))
