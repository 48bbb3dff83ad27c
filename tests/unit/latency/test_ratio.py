"""The ratio of two variants and its interval."""

import numpy as np
import pandas as pd
import pytest

from softjet.errors import InputError
from softjet.latency import median_ratio, summarise


def table(a, b, batch=1):
    """Samples as measured: a b, b a, a b, ..."""
    rows = []
    for i, pair in enumerate(zip(("dense",) * len(a), a, b, strict=True)):
        turn = [("dense", pair[1]), ("compressed", pair[2])]
        rows += turn if i % 2 == 0 else turn[::-1]
    frame = pd.DataFrame(rows, columns=["variant", "nanoseconds"])
    return frame.assign(
        runtime="torch", device="cpu", batch=batch, length=40, threads=2, warmup=1, order=range(len(frame))
    )


def noisy(ratio, n=40, spread=0.02, seed=0):
    """Times that share the machine's moods, and a spread of their own."""
    random = np.random.default_rng(seed)
    mood = np.exp(random.normal(0, 0.3, n))
    a = 1e6 * ratio * mood * np.exp(random.normal(0, spread, n))
    return table(a, 1e6 * mood * np.exp(random.normal(0, spread, n)))


def test_ratio_is_the_median_over_pairs_by_hand():
    result = median_ratio(table([200, 300, 1000], [100, 200, 200]))
    assert result.ratio == 2.0
    assert (result.low, result.high) == (1.5, 5.0)


def test_moods_of_the_machine_cancel_within_pairs():
    result = median_ratio(noisy(1.5))
    assert result.low < 1.5 < result.high
    assert result.high - result.low < 0.06


def test_the_interval_covers_the_truth_as_often_as_it_says():
    results = [median_ratio(noisy(1.3, n=30, seed=i), bootstrap=400) for i in range(200)]
    covered = np.mean([r.low <= 1.3 <= r.high for r in results])
    assert 0.90 <= covered <= 0.99


def test_the_bootstrap_is_reproducible():
    assert median_ratio(noisy(1.2), seed=4) == median_ratio(noisy(1.2), seed=4)
    assert median_ratio(noisy(1.2), seed=4) != median_ratio(noisy(1.2), seed=5)


def test_summary_has_a_row_a_setting():
    both = pd.concat([noisy(1.5), noisy(0.8).assign(batch=64)])
    rows = summarise(both)
    assert rows["batch"].tolist() == [1, 64]
    assert rows["ratio"].tolist() == pytest.approx([1.5, 0.8], rel=0.03)
    assert (rows["note"] == "").all()
    assert (rows["pairs"] == 40).all()
    assert rows["median_a"][0] / rows["median_b"][0] == pytest.approx(1.5, rel=0.1)


def test_a_summary_keeps_every_call_pair_by_pair():
    row = summarise(table([200, 300, 1000], [100, 200, 250]), noise=1e9).iloc[0]
    assert row["nanoseconds_a"] == [200, 300, 1000]
    assert row["nanoseconds_b"] == [100, 200, 250]
    assert row["warmup"] == 1


def test_a_wide_interval_is_called_noise_and_gives_no_number():
    row = summarise(noisy(1.5, spread=0.8)).iloc[0]
    assert np.isnan([row["ratio"], row["low"], row["high"]]).all()
    assert row["note"].startswith("too noisy: interval")
    assert row["median_a"] > 0


def test_a_change_of_the_machine_half_way_is_called_noise():
    steady = np.full(20, 100.0)
    changed = table(np.concatenate((steady, steady * 1.5)), np.full(40, 100.0))
    assert "halves differ by 4" in summarise(changed)["note"][0]
    assert summarise(table(np.full(40, 150.0), np.full(40, 100.0)))["ratio"][0] == 1.5


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (noisy(1.0).iloc[1:], "in every pair"),
        (noisy(1.0).assign(variant="dense"), "is not unique"),
        (pd.concat([noisy(1.0), noisy(1.0)]), "is not unique"),
        (noisy(1.0).replace({"variant": {"dense": "other"}}), "in every pair"),
    ],
)
def test_samples_that_are_no_pairs_are_refused(broken, message):
    with pytest.raises(InputError, match=message):
        median_ratio(broken)
