"""Pairs of factors against dense products, rank by rank."""

import pytest
import torch

from softjet.latency.crossover import measure_crossover, ranks_measured


@pytest.fixture(scope="module")
def table():
    return measure_crossover({(12, 4): 3, (8, 8): 1}, rows=5, samples=5, parts=2)


def test_ranks_go_evenly_up_to_break_even():
    assert ranks_measured(128, 512, 4) == [26, 52, 77, 103]
    assert ranks_measured(2, 2, 8) == [1]


def test_ranks_are_multiples_of_the_recipes():
    assert ranks_measured(128, 512, 8, 16) == [16, 32, 48, 64, 80, 96]
    assert ranks_measured(128, 128, 8, 16) == [16, 32, 48, 64]
    assert ranks_measured(768, 768, 8, 16) == [48, 96, 144, 192, 240, 288, 336, 384]
    assert ranks_measured(8, 8, 8, 16) == [16]
    table = measure_crossover({(12, 4): 1}, rows=5, samples=5, multiple=2)
    assert table["rank"].tolist() == [2]


def test_every_shape_is_measured_at_every_rank(table):
    assert table[["m", "n", "matrices", "rank"]].to_numpy().tolist() == [
        [12, 4, 3, 2], [12, 4, 3, 3], [8, 8, 1, 2], [8, 8, 1, 4],
    ]  # fmt: skip
    assert (table["pairs"] == 5).all()
    assert (table["rows"] == 5).all()


def test_products_are_those_of_the_shape(monkeypatch):
    seen = []

    def product(x, weight):
        seen.append((tuple(x.shape), tuple(weight.shape)))
        return x @ weight.T

    monkeypatch.setattr("softjet.latency.crossover.functional.linear", product)
    measure_crossover({(12, 4): 1}, rows=5, samples=5, parts=1)
    assert set(seen) == {((5, 4), (12, 4)), ((5, 4), (3, 4)), ((5, 3), (12, 3))}


def test_times_are_of_one_matrix(monkeypatch):
    clock = iter(range(0, 10**9, 300))
    monkeypatch.setattr("softjet.latency.pairs.time.perf_counter_ns", lambda: next(clock))
    table = measure_crossover({(8, 8): 3}, rows=1, samples=5, parts=1)
    assert table["median_a"].tolist() == [100]
    assert table["median_b"].tolist() == [100]


def test_the_precision_is_noted():
    table = measure_crossover({(8, 8): 1}, rows=1, samples=5, parts=1, dtype=torch.bfloat16)
    assert table["precision"].tolist() == ["bfloat16"]
