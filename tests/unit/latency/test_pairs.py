"""Interleaved measurement: who is called when, and what is written down."""

import gc

import pandas as pd
import pytest

from softjet.latency import measure_pair, pairs


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the calls move."""

    class Clock:
        now = 0

    monkeypatch.setattr(pairs.time, "perf_counter_ns", lambda: Clock.now)
    return Clock


@pytest.fixture
def measured(clock):
    calls = []

    def call(name, cost):
        def run():
            calls.append((name, gc.isenabled()))
            clock.now += cost

        return run

    table = measure_pair(call("a", 300), call("b", 100), 5, 2, names=("a", "b"), batch=64, length=40)
    return table, calls


def test_turns_alternate_so_that_each_is_as_often_first(measured):
    table, calls = measured
    assert [name for name, _ in calls[4:]] == list("abbaabbaab") == table["variant"].tolist()


def test_warm_up_is_not_in_the_table(measured):
    table, calls = measured
    assert len(calls) == 2 * (5 + 2)
    assert table["order"].tolist() == list(range(10))


def test_every_row_is_one_call_in_nanoseconds(measured):
    table, _ = measured
    assert table.groupby("variant")["nanoseconds"].unique().map(list).to_dict() == {"a": [300], "b": [100]}
    columns = "variant runtime device batch length threads warmup order nanoseconds"
    assert list(table.columns) == columns.split()
    assert (table["batch"].unique(), table["length"].unique()) == (64, 40)
    assert (table["warmup"] == 2).all()


def test_the_garbage_collector_rests_while_the_clock_runs_and_works_again_after(measured):
    _, calls = measured
    assert not any(collecting for _, collecting in calls[4:])
    assert gc.isenabled()


def test_the_garbage_collector_works_again_after_a_failure():
    def fail():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        measure_pair(fail, fail, 5, 0)
    assert gc.isenabled()


def test_a_real_difference_is_seen():
    table = measure_pair(lambda: sum(range(40_000)), lambda: sum(range(4_000)), 9, 1)
    medians = table.groupby("variant")["nanoseconds"].median()
    assert isinstance(table, pd.DataFrame)
    assert medians["dense"] > 2 * medians["compressed"]
