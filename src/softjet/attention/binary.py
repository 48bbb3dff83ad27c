"""Is attention binary? How sharply each query attends, and to whom (arXiv 2412.03673, 2512.00210)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
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
        expected, n = _expected(seen, chance), seen.queries
        choices = choose(seen, thresholds)
        found = [
            ratio
            for place, threshold in enumerate(thresholds)
            for ratio in _above(choices, place, n, threshold, *expected[f"above_{threshold:g}"])
        ]
        measured = {
            "extreme": seen.over_queries(is_extreme(seen.largest)),
            "effective_keys": seen.over_queries(effective_keys(seen)),
            "largest": choices.largest,
        }
        found += [Ratio(name, total, n, *expected[name]) for name, total in measured.items()]
        # By chance every key is chosen, alike, and so the expectations of these are exact.
        return [
            *found,
            Ratio("self", choices.itself, n, torch.ones_like(n)),
            Ratio("mutual", choices.mutual, n, 1 - 1 / n),
            Ratio("hub", choices.hub, n, loads.to(n.device)[n.long()]),
        ]

    return Statistic(measure)


def effective_keys(seen: Seen) -> Tensor:
    """exp(entropy) of each query's weights, (B, H, P).

    The entropy is -ln of the largest weight plus how far its logit lies above the mean one, weighted.
    """
    return (seen.described.rise - seen.largest.log()).exp()


class Choices(NamedTuple):
    """Queries of a jet by what they choose, float32 (B, H) each.

    above, above_other : lists of them, by threshold: queries whose largest weight exceeds it, and those of
        them that choose another particle.
    largest : sum of the largest weights.
    itself : queries that choose themselves.
    mutual : those that are chosen by the key that they choose, another particle.
    hub : those that choose the key that most queries choose.
    """

    above: list[Tensor]
    above_other: list[Tensor]
    largest: Tensor
    itself: Tensor
    mutual: Tensor
    hub: Tensor


def choose(seen: Seen, thresholds: Sequence[float]) -> Choices:
    """Count the queries of a layer by what they choose; on a processor, as `describe` does."""
    largest, key, n = (part.cpu().numpy() for part in (seen.largest, seen.key, seen.jets.n))
    limits = np.array(thresholds, largest.dtype)
    sums = np.zeros((2 * len(limits) + 4, *largest.shape[:2]), np.float32)
    _count(largest, key, n, limits, sums)
    counts = list(torch.from_numpy(sums).to(seen.largest.device))
    return Choices(counts[: len(limits)], counts[len(limits) : -4], *counts[-4:])


@njit(cache=True, nogil=True)
def _count(
    largest: NDArray[np.float32],
    key: NDArray[np.int64],
    n: NDArray[np.int64],
    limits: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None:
    some = len(limits)
    for jet in range(len(n)):
        for head in range(largest.shape[1]):
            top, choice, own = largest[jet, head], key[jet, head], sums[:, jet, head]
            chosen = np.zeros(n[jet], np.int64)
            for query in range(n[jet]):
                other = choice[query] != query
                for place in range(some):
                    above = top[query] > limits[place]
                    own[place] += above
                    own[some + place] += above and other
                own[-4] += top[query]
                own[-3] += not other
                own[-2] += other and choice[choice[query]] == query
                chosen[choice[query]] += 1
            own[-1] = chosen.max() if n[jet] else 0


def _above(
    choices: Choices, place: int, n: Tensor, threshold: float, null: Tensor, error: Tensor
) -> list[Ratio]:
    other = 1 - 1 / n
    return [
        Ratio("above", choices.above[place], n, null, error, threshold),
        Ratio("above_other", choices.above_other[place], n, null * other, error * other, threshold),
    ]


def _expected(seen: Seen, chance: Chance) -> dict[str, tuple[Tensor, Tensor]]:
    """Sums over queries of what random logits give, and their errors, each (B, H), by name."""
    values, errors = (part.movedim(-1, 0) for part in chance.expect(seen.jets.n, seen.described.variance))
    return dict(zip(chance.names, zip(values, errors, strict=True), strict=True))
