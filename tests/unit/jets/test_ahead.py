"""Work ahead: in order, bounded, errors in their place, no thread left."""

import itertools
import threading
import time

import pytest

from softjet.jets.ahead import ahead


def names():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("softjet-ahead")]


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_results_come_in_order(workers):
    def slow_when_even(n):
        time.sleep(0.002 * (n % 2 == 0))
        return n * n

    assert list(ahead(slow_when_even, range(20), workers, depth=5)) == [n * n for n in range(20)]
    assert not names()


def test_no_more_than_depth_results_wait():
    done = []
    stream = ahead(lambda n: done.append(n) or n, itertools.count(), workers=2, depth=3)
    for n in range(5):
        assert next(stream) == n
        time.sleep(0.01)
        assert len(done) <= n + 1 + 3
    while len(done) < 5 + 3:
        time.sleep(0.01)
    stream.close()
    assert not names()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_comes_in_its_place(workers):
    stream = ahead(lambda n: 6 // (2 - n), range(9), workers, depth=4)
    assert [next(stream), next(stream)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(stream)
    assert list(stream) == []
    assert not names()


def test_calls_under_way_are_told_that_nobody_waits():
    stop = threading.Event()

    def call(number):
        if number == 0:
            raise ValueError("0")
        assert stop.wait(20)

    start = time.monotonic()
    with pytest.raises(ValueError, match="0"):
        list(ahead(call, range(3), 2, 3, stop))
    assert time.monotonic() - start < 10
