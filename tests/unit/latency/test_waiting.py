"""Time spent waiting and working, by a clock that the test turns."""

import numpy as np
import pytest

from softjet.latency import stream


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(stream.time, "perf_counter", clock)
    return clock


def test_waiting_and_working_are_told_apart_and_the_first_item_does_not_count(clock):
    def items():
        for seconds in (100, 1, 2, 3):
            clock.now += seconds
            yield seconds

    def work(seconds):
        clock.now += 10 * seconds

    spent = stream.spend(items(), work, steps=3)
    assert spent == (6, 60)
    assert spent.share == pytest.approx(6 / 66)


def test_an_interval_holds_its_median_and_narrows_with_samples():
    random = np.random.default_rng(1)
    few, many = (stream.median_interval(random.normal(5, 1, n).tolist()) for n in (10, 1000))
    assert few.low < few.median < few.high
    assert abs(many.median - 5) < 0.2
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_a_forgotten_file_can_still_be_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"jets")
    stream.forget(path)
    assert path.read_bytes() == b"jets"
