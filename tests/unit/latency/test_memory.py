import pytest

from softjet.latency.memory import measure_memory


def test_the_peak_is_that_of_the_call_alone():
    held = measure_memory("numpy:ones", [40_000_000], [1000])
    assert held.peak - held.before == pytest.approx(320, rel=0.1)
    prepared = measure_memory("numpy:ones", [1000], [40_000_000])
    assert prepared.peak - prepared.before < 30
