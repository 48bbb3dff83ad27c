"""Which row groups are in memory together in an epoch, and for how many batches.

Files may hold one class each. So an epoch does not read them in their order: row groups of each range of
labels come in random order and are spread evenly over the epoch. Then a run of row groups, a *pool*, holds
each class in its share, as far as row groups allow.
"""

from collections.abc import Sequence

import numpy as np

from softjet.jets.row_groups import RowGroup, by_labels, permuted

POOL = 20_000
"""Jets a pool, about; some hundred batches to sort by length, and 80 MB."""

LARGEST_POOL = 100_000
"""Jets to which a pool grows at most, so that single-class row groups of all classes find place; 400 MB."""


def pool_count(groups: Sequence[RowGroup], size: int) -> int:
    """Number of pools of at least `size` jets, larger where single-class row groups ask for it."""
    largest = max((group.jets for group in groups), default=1)
    single = len({group.labels for group in groups if group.labels[0] == group.labels[1]})
    size = max(size, largest, min(single * largest, LARGEST_POOL))
    return max(1, sum(group.jets for group in groups) // size)


def cut(groups: Sequence[RowGroup], pools: int) -> list[list[RowGroup]]:
    """Cut row groups into runs of near-equal jets; none is empty if each can hold the largest group."""
    ends = np.cumsum([group.jets for group in groups])
    middles = ends - np.array([group.jets for group in groups]) / 2
    place = (middles * pools / ends[-1]).astype(int)
    return [[groups[i] for i in np.flatnonzero(place == pool).tolist()] for pool in range(pools)]


def deal(groups: Sequence[RowGroup], pools: int, generator: np.random.Generator) -> list[list[RowGroup]]:
    """Pools of an epoch: row groups of each range of labels in random order, spread evenly over the pools."""
    placed = []
    for members in by_labels(groups):
        places = (np.arange(len(members)) + generator.random()) / len(members)
        placed += list(zip(places.tolist(), permuted(members, generator), strict=True))
    order = [group for _, group in sorted(placed, key=lambda pair: pair[0])]
    return [sorted(pool, key=lambda group: group.first_row) for pool in cut(order, pools)]


def batch_counts(sizes: Sequence[int], batch_size: int) -> list[int]:
    """Batches of each pool, whose sum does not depend on how an epoch's jets are dealt to its pools.

    Parameters
    ----------
    sizes : sequence of int
        Jets of each pool.
    batch_size : int
        Most jets a batch; a batch of three may be where it is two.

    Returns
    -------
    list of int
        Each leaves at least two jets a batch, which batch normalisation needs.
    """
    jets, pools = sum(sizes), len(sizes)
    total = max(1, min(-(-jets // batch_size) + pools - 1, jets // 2 - (pools - 1)))
    counts = np.array([max(1, min(-(-size // batch_size), size // 2)) for size in sizes])
    rest = total - int(counts.sum())
    counts[: abs(rest)] += np.sign(rest)
    return counts.tolist()
