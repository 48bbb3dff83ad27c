"""Growth of time and memory with size, and its exponent."""

import numpy as np
import pandas as pd
import pytest

from softjet.figures.scaling import draw_scaling
from softjet.latency import growth, pairs
from softjet.latency.growth import measure_growth, sample_processes, sample_times, summarise_growth
from softjet.latency.memory import Memory


def growing(power, rounds=12, spread=0.01, floor=0.0, sizes=(8, 16, 32, 64, 128), quantity="seconds"):
    """Values floor + size^power that share each round's mood."""
    random = np.random.default_rng(1)
    rows = []
    for place in range(rounds):
        mood = np.exp(random.normal(0, 0.03))
        for size in sizes:
            value = mood * (floor + 1e-3 * size**power) * np.exp(random.normal(0, spread))
            rows.append((place, size, quantity, value))
    return pd.DataFrame(rows, columns=["round", "size", "quantity", "value"])


def test_the_exponent_is_that_of_the_growth():
    table = summarise_growth(growing(1.5))
    assert table["size"].tolist() == [8, 16, 32, 64, 128]
    assert table["median"][4] / table["median"][2] == pytest.approx(4**1.5, rel=0.1)
    row = table.iloc[0]
    assert row["exponent_low"] < 1.5 < row["exponent_high"]
    assert row["exponent_high"] - row["exponent_low"] < 0.03
    assert row["n"] == 12
    assert len(row["samples"]) == 12


def test_the_lower_half_of_the_sizes_does_not_bend_the_exponent():
    # 8 and 16 take what 32 does.
    samples = growing(1.0, spread=0)
    small = samples["size"] < 32
    samples.loc[small, "value"] = samples[samples["size"] == 32]["value"].repeat(2).to_numpy()
    assert summarise_growth(samples)["exponent"][0] == pytest.approx(1.0)


def test_values_that_differ_too_much_give_no_number():
    table = summarise_growth(growing(1.0, spread=0.9))
    assert table["median"].isna().all()
    assert table["note"].str.startswith("too noisy: interval").all()
    assert np.isnan(table["exponent"][0])
    assert "of one wide" in table["exponent_note"][0]


def test_nothing_gives_no_number_and_no_exponent():
    samples = growing(1.0, quantity="megabytes")
    samples["value"] = 0.0
    table = summarise_growth(samples)
    assert table["median"].isna().all()
    assert (table["note"] == "no number: nothing above zero was measured").all()
    assert table["exponent_note"][0] == table["note"][0]


def test_sizes_take_turns(monkeypatch):
    clock = {"now": 0}
    monkeypatch.setattr(pairs.time, "perf_counter_ns", lambda: clock["now"])
    seen = []

    def call(size):
        def run():
            seen.append(size)
            clock["now"] += 1000 * size

        return run

    table = sample_times({size: call(size) for size in (1, 10, 100)}, rounds=2)
    assert seen == [1, 10, 100, 1, 10, 100, 100, 10, 1]
    assert table["round"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["value"].tolist() == pytest.approx([1e-6, 1e-5, 1e-4, 1e-4, 1e-5, 1e-6])


def test_processes_tell_memory_and_time(monkeypatch):
    seen, done = [], []

    def measured(function, arguments, prepare):
        seen.append((function, arguments, prepare))
        return Memory(100.0, 100.0 + arguments[0], 0.5 * arguments[0])

    monkeypatch.setattr(growth, "measure_memory", measured)
    table = sample_processes("numpy:ones", {10: [1], 20: [3]}, [0], 2, lambda: done.append(len(seen)))
    assert seen == [("numpy:ones", [size], [0]) for size in (1, 3, 3, 1)]
    assert done == [1, 2, 3, 4]
    values = table.pivot_table(index=["round", "size"], columns="quantity", values="value")
    assert values["megabytes"].tolist() == [1, 3, 1, 3]
    assert values["seconds"].tolist() == [0.5, 1.5, 0.5, 1.5]


def test_times_of_this_process_replace_those_of_the_others():
    calls = {size: lambda: None for size in (1, 2)}
    table = measure_growth("time:sleep", {1: [0.4], 2: [0.4]}, [0], 2, calls=calls, rounds=5, noise=1e9)
    by_quantity = table.groupby("quantity")
    assert by_quantity["n"].first().to_dict() == {"megabytes": 2, "seconds": 5}
    assert max(by_quantity["samples"].first()["seconds"]) < 0.1


def test_the_figure_is_drawn_with_what_was_too_noisy(tmp_path):
    works = {("network", "particles"): 1.8, ("other network", "particles"): 1.5, ("loader", "jets"): 1.0}
    tables = []
    for (work, counted), power in works.items():
        samples = pd.concat([growing(power), growing(1.0, spread=0.9, quantity="megabytes")])
        tables.append(summarise_growth(samples).assign(work=work, counted=counted, call="64 jets"))
    draw_scaling(pd.concat(tables), tmp_path / "growth.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["growth.pdf", "growth.png"]
