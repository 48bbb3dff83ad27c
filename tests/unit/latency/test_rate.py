"""Examples a second of a call."""

import math
import time

import pytest

from softjet.latency.rate import measure_rate


def test_rate_is_examples_over_time_and_the_first_call_does_not_count():
    calls = []

    def call():
        calls.append(time.sleep(0.3 if not calls else 0.01))

    rate = measure_rate(call, 100, samples=5, noise=1e9)
    assert len(calls) == 6
    assert len(rate.nanoseconds) == 5
    assert min(rate.nanoseconds) >= 10_000_000
    assert rate.low <= rate.rate <= rate.high <= 100 / 0.01


def test_rate_is_the_median(monkeypatch):
    ticks = iter([0, 100, 200, 300, 400, 10_400])
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(ticks))
    rate = measure_rate(lambda: None, 7, samples=3, noise=1e9)
    assert rate.nanoseconds == [100, 100, 10_000]
    assert rate.rate == pytest.approx(7 / 100e-9)
    assert rate.low == pytest.approx(7 / 10_000e-9)
    assert rate.note == ""


def test_no_rate_is_given_where_the_machine_changed(monkeypatch):
    ticks = iter([0, 100, 200, 300, 400, 10_400])
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(ticks))
    rate = measure_rate(lambda: None, 7, samples=3)
    assert math.isnan(rate.rate)
    assert "too noisy" in rate.note
    assert rate.nanoseconds == [100, 100, 10_000]
