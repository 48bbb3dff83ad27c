"""Pools: near-equal, none empty, and as many batches whatever the deal."""

from pathlib import Path

import numpy as np
import pytest

from softjet.jets.pools import LARGEST_POOL, batch_counts, cut, deal, pool_count
from softjet.jets.row_groups import RowGroup


def groups(jets, labels):
    firsts = np.cumsum([0, *jets])
    return [
        RowGroup(Path("a"), i, int(firsts[i]), n, n, ends)
        for i, (n, ends) in enumerate(zip(jets, labels, strict=True))
    ]


def jets_of(pool):
    return sum(group.jets for group in pool)


@pytest.mark.parametrize("seed", range(20))
def test_every_row_group_stands_in_one_pool_and_pools_are_alike(seed):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 100, 80).tolist()
    found = groups(sizes, [(int(c), int(c)) for c in random.integers(0, 4, 80)])
    pools = pool_count(found, 300)
    for dealt in (deal(found, pools, random), cut(found, pools)):
        assert sorted(group.index for pool in dealt for group in pool) == list(range(80))
        assert all(abs(jets_of(pool) - sum(sizes) / pools) <= max(sizes) for pool in dealt)
        assert all(jets_of(pool) for pool in dealt)


@pytest.mark.parametrize("batch_size", [2, 3, 16, 100])
def test_the_number_of_batches_does_not_depend_on_the_deal(batch_size):
    random = np.random.default_rng(1)
    found = groups(random.integers(1, 100, 80).tolist(), [(0, 9)] * 80)
    totals = set()
    for _ in range(50):
        sizes = [jets_of(pool) for pool in deal(found, 9, random)]
        counts = batch_counts(sizes, batch_size)
        totals.add(sum(counts))
        for size, count in zip(sizes, counts, strict=True):
            assert size // count >= 2
            assert -(-size // count) <= max(batch_size, 3)
    assert len(totals) == 1
    jets = sum(sizes)
    assert totals.pop() <= -(-jets // batch_size) + 8


def test_pools_grow_for_single_class_row_groups_within_bounds():
    mixed = groups([10_000] * 200, [(0, 9)] * 200)
    assert pool_count(mixed, 20_000) == 100
    single = groups([10_000] * 200, [(i % 10, i % 10) for i in range(200)])
    assert pool_count(single, 20_000) == 20
    many = groups([10_000] * 200, [(i % 100, i % 100) for i in range(200)])
    assert pool_count(many, 20_000) == 2_000_000 // LARGEST_POOL
    assert pool_count(groups([50_000], [(0, 1)]), 20_000) == 1
