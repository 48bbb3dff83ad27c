"""Pairs of factors against dense products, rank by rank."""

import itertools

import numpy as np
import pytest
import torch

from softjet.lowrank.crossover import WARMUP, measure_crossover, ranks_measured
from softjet.lowrank.pivot import PivotLinear


@pytest.fixture(scope="module")
def table():
    return measure_crossover({(12, 4): 3, (8, 8): 1}, rows=5, samples=5, parts=2)


@pytest.fixture
def products(monkeypatch):
    """Input and weight of every product from now on."""
    seen = []

    def product(x, weight):
        seen.append((x, weight))
        return x @ weight.T

    monkeypatch.setattr("softjet.lowrank.crossover.functional.linear", product)
    return seen


def set_clock(monkeypatch, reading):
    monkeypatch.setattr("softjet.latency.pairs.time.perf_counter_ns", reading)


def test_ranks_go_evenly_up_to_break_even():
    assert ranks_measured(128, 512, 4) == [26, 52, 77, 103]
    assert ranks_measured(2, 2, 8) == [1]


def test_ranks_are_multiples_of_the_recipes():
    assert ranks_measured(128, 512, 8, 16) == [16, 32, 48, 64, 80, 96]
    assert ranks_measured(128, 128, 8, 16) == [16, 32, 48, 64]
    assert ranks_measured(768, 768, 8, 16) == [48, 96, 144, 192, 240, 288, 336, 384]
    assert ranks_measured(8, 8, 8, 16) == [8]
    table = measure_crossover({(12, 4): 1}, rows=5, samples=5, multiple=2)
    assert table["rank"].tolist() == [2]


def test_every_shape_is_measured_at_every_rank(table):
    assert table[["m", "n", "matrices", "rank"]].to_numpy().tolist() == [
        [12, 4, 3, 2], [12, 4, 3, 3], [8, 8, 1, 2], [8, 8, 1, 4],
    ]  # fmt: skip
    assert (table["pairs"] == 5).all()
    assert (table["rows"] == 5).all()


def test_a_pivot_form_is_measured_up_to_full_rank():
    table = measure_crossover({(12, 4): 1, (8, 8): 2}, rows=5, samples=5, parts=2, form="pivot")
    assert table[["m", "rank"]].to_numpy().tolist() == [[12, 2], [12, 4], [8, 4], [8, 8]]
    assert table["parameters"].tolist() == [2 * 14 / 48, 1, 4 * 12 / 64, 1]
    assert set(table["form"]) == {"pivot"}


@pytest.mark.parametrize("form", ["pair", "pivot"])
def test_no_rank_is_above_full_whatever_the_multiple(form):
    table = measure_crossover({(12, 4): 1, (4, 12): 1}, rows=5, samples=5, parts=2, multiple=16, form=form)
    assert table["rank"].tolist() == [4, 4]


def test_pivot_forms_are_called_as_the_layer_is(monkeypatch):
    called = []
    forward = PivotLinear.forward
    monkeypatch.setattr(
        PivotLinear, "forward", lambda layer, x: called.append((layer.layout, x.shape)) or forward(layer, x)
    )
    measure_crossover({(12, 4): 3}, rows=5, samples=5, parts=1, form="pivot")
    assert called == [([(12, 4)], (5, 4))] * 3 * (WARMUP + 5)


def test_products_are_those_of_the_shape(products):
    measure_crossover({(12, 4): 1}, rows=5, samples=5, parts=1)
    shapes = {(tuple(x.shape), tuple(weight.shape)) for x, weight in products}
    assert shapes == {((5, 4), (12, 4)), ((5, 4), (3, 4)), ((5, 3), (12, 3))}


def test_a_call_reads_as_many_matrices_as_the_model_has(products):
    measure_crossover({(12, 4): 3}, rows=5, samples=5, parts=1)
    read = {(tuple(weight.shape), weight.data_ptr()) for _, weight in products}
    shapes = [shape for shape, _ in read]
    assert [shapes.count(shape) for shape in ((12, 4), (3, 4), (12, 3))] == [3, 3, 3]


def test_all_are_called_before_the_clock_counts(products, monkeypatch):
    before = []
    set_clock(monkeypatch, lambda: before.append(len(products)) or len(before))
    measure_crossover({(12, 4): 1}, rows=5, samples=5, parts=1)
    warm = {tuple(weight.shape) for _, weight in products[: before[0]]}
    assert warm == {(12, 4), (3, 4), (12, 3)}


def test_times_that_change_by_more_than_noise_give_no_ratio(monkeypatch):
    times = (n * n for n in itertools.count())
    set_clock(monkeypatch, lambda: next(times))
    noisy, quiet = (
        measure_crossover({(8, 8): 1}, rows=1, samples=5, parts=1, noise=noise).iloc[0]
        for noise in (0.001, 1000)
    )
    assert np.isnan(noisy["ratio"])
    assert noisy["note"].startswith("too noisy")
    assert quiet["ratio"] > 0


def test_times_are_of_one_matrix(monkeypatch):
    clock = iter(range(0, 10**9, 300))
    set_clock(monkeypatch, lambda: next(clock))
    table = measure_crossover({(8, 8): 3}, rows=1, samples=5, parts=1)
    assert table["median_a"].tolist() == [100]
    assert table["median_b"].tolist() == [100]


def test_the_precision_is_noted():
    table = measure_crossover({(8, 8): 1}, rows=1, samples=5, parts=1, dtype=torch.bfloat16)
    assert table["precision"].tolist() == ["bfloat16"]
