"""What the machine can do at most, and the time of calls beside it."""

import numpy as np
import pandas as pd
import pytest

from softjet.latency.peaks import sample_peaks, summarise_peaks, with_limits


def samples(**rates):
    """Samples of calls of 1e9 FLOPs or bytes with these rates, in units of 1e9 a second."""
    rows = [
        {"peak": peak, "unit": "1/s", "work": 10**9, "size": 1, "threads": 2, "nanoseconds": 1e9 / rate}
        for peak, found in rates.items()
        for rate in found
    ]
    return pd.DataFrame(rows)


def test_peaks_are_sampled_in_turns():
    table = sample_peaks(["float32", "bfloat16"], 2, size=8, length=64)
    names = ["float32", "bfloat16", "memory"]
    assert table["peak"].tolist() == names + names[::-1]
    assert table["work"].tolist()[:3] == [2 * 8**3, 2 * 8**3, 3 * 4 * 64]
    assert table["unit"].tolist()[:3] == ["FLOP/s", "FLOP/s", "B/s"]
    assert table["size"].tolist()[:3] == [8, 8, 64]
    assert (table["nanoseconds"] > 0).all()


def test_a_peak_is_a_median_with_its_samples():
    peaks = summarise_peaks(samples(float32=[100, 102, 101, 99], memory=[10, 10, 10, 10]))
    assert peaks["median"].tolist() == pytest.approx([100.5e9, 10e9])
    assert peaks["low"][0] < 100.5e9 < peaks["high"][0]
    assert peaks["n"].tolist() == [4, 4]
    assert peaks["nanoseconds"].map(len).tolist() == [4, 4]
    assert (peaks["note"] == "").all()


def test_a_peak_that_changes_from_before_to_after_is_called_noise():
    peaks = summarise_peaks(samples(float32=[100] * 240 + [140] * 160, memory=[10] * 400), noise=0.2)
    assert np.isnan(peaks["median"][0])
    assert "interval 0% of the median wide, halves differ by 40%" in peaks["note"][0]
    assert peaks["median"][1] == pytest.approx(10e9)


def timed(**columns):
    plain = {"flops_float32": 0.0, "flops_bfloat16": 0.0, "bytes_read": 0.0, "median_b": 4e6, "note": ""}
    return pd.DataFrame([plain | columns])


@pytest.fixture
def peaks():
    return summarise_peaks(samples(float32=[100, 100], bfloat16=[200, 200], memory=[10, 10]))


def test_products_of_all_precisions_limit_a_call(peaks):
    row = with_limits(timed(flops_float32=1e8, flops_bfloat16=2e8, bytes_read=1e7), peaks).iloc[0]
    assert row["limit"] == pytest.approx(2e6)
    assert (row["limited_by"], row["of_limit"]) == ("arithmetic", pytest.approx(0.5))


def test_what_is_read_limits_a_call_where_that_takes_longer(peaks):
    row = with_limits(timed(flops_float32=1e8, bytes_read=3e7), peaks).iloc[0]
    assert row["limit"] == pytest.approx(3e6)
    assert (row["limited_by"], row["of_limit"]) == ("memory", pytest.approx(0.75))


def test_a_noisy_peak_gives_no_limit_to_those_who_need_it():
    noisy = summarise_peaks(samples(float32=[100, 100], bfloat16=[100, 300], memory=[10, 10]))
    both = pd.concat([timed(flops_float32=1e8), timed(flops_bfloat16=1e8)], ignore_index=True)
    table = with_limits(both, noisy)
    assert table["limit"].isna().tolist() == [False, True]
    assert table["limited_by"].tolist() == ["arithmetic", ""]
    assert np.isnan(table["of_limit"][1])


def test_a_noisy_measurement_reaches_no_share(peaks):
    row = with_limits(timed(flops_float32=1e8, note="too noisy"), peaks).iloc[0]
    assert row["limit"] > 0
    assert np.isnan(row["of_limit"])


def test_a_precision_without_a_peak_is_refused(peaks):
    with pytest.raises(KeyError, match="float64"):
        with_limits(timed(flops_float64=1.0), peaks)
