"""Methods compared at equal size: values, intervals, margins."""

import numpy as np
import pandas as pd
import pytest

from softjet.errors import InputError
from softjet.lowrank.compare import Run, add_sizes, compare_methods
from softjet.lowrank.margins import add_equivalence, largest_removed, within
from softjet.lowrank.resampling import Metric, draw_counts, of_examples, of_sums

N = 400
LABELS = np.tile([0, 1], N // 2)


def _right(outputs, labels):
    return (outputs.argmax(1) == labels)[:, None]


def _accuracy(outputs, labels):
    return float(_right(outputs, labels).mean())


ACCURACY = Metric(of_sums(_right, lambda sums: sums[:, 0] / N))
PERPLEXITY = Metric(
    of_sums(lambda outputs, labels: outputs, lambda sums: np.exp(sums[:, 1] / sums[:, 0])), True, "lower"
)


def _logits(wrong, seed=0):
    """Logits of a classifier that errs on `wrong` examples, chosen by the seed."""
    taken = LABELS.copy()
    taken[np.random.default_rng(seed).permutation(N)[:wrong]] ^= 1
    return np.eye(2)[taken]


def _rows(table):
    return table.set_index(["method", "keep", "against"])


def test_values_are_means_over_the_seeds_that_both_have():
    runs = [
        Run("dense", 1.0, 1, _logits(40)),
        Run("dense", 1.0, 2, _logits(60)),
        Run("dense", 1.0, 3, _logits(300)),
        Run("soft-threshold", 0.5, 1, _logits(50)),
        Run("soft-threshold", 0.5, 2, _logits(80)),
    ]
    row = _rows(compare_methods(runs, LABELS, {"accuracy": ACCURACY})).loc[("soft-threshold", 0.5, "dense")]
    assert row["value"] == pytest.approx(1 - 65 / N)
    assert row["reference"] == pytest.approx(1 - 50 / N)
    assert row["change"] == pytest.approx(-15 / N)
    assert row["spread"] == pytest.approx(np.std([-10 / N, -20 / N], ddof=1))
    assert (row["n"], row["seeds"]) == (N, 2)


@pytest.mark.parametrize(("n", "told"), [(1, False), (4, False), (5, True)])
def test_few_examples_have_no_interval_and_show_nothing(n, told):
    windows = np.stack([np.full(n, 100.0), np.linspace(300, 310, n)], axis=1)
    runs = [Run("dense", 1.0, 1, windows), Run("soft-threshold", 0.5, 1, windows * [1, 1.001])]
    table = add_equivalence(compare_methods(runs, np.zeros(n, int), {"perplexity": PERPLEXITY}))
    row = _rows(table).loc[("soft-threshold", 0.5, "dense")]
    assert row["change"] == pytest.approx(1.003, abs=1e-3)
    assert row[["low", "high", "value_low", "value_high"]].notna().tolist() == 4 * [told]
    assert row["alike"] == told
    assert row["note"] == ("" if told else "no interval: fewer than 5 examples")


@pytest.mark.parametrize(
    ("methods", "pairs"),
    [
        (
            ("svd", "whitened-soft-threshold", "soft-threshold"),
            {("svd", "soft-threshold"), ("whitened-soft-threshold", "soft-threshold")},
        ),
        (("svd", "whitened-soft-threshold"), {("svd", "whitened-soft-threshold")}),
        (
            ("learned-mask", "whitened-soft-threshold", "svd"),
            {("svd", "whitened-soft-threshold"), ("learned-mask", "whitened-soft-threshold")},
        ),
        (("svd", "energy-svd"), set()),
    ],
)
def test_methods_stand_beside_the_first_that_learns_ranks(methods, pairs):
    runs = [Run(method, 0.5, 1, _logits(40)) for method in methods]
    table = compare_methods([Run("dense", 1.0, 1, _logits(40)), *runs], LABELS, {"accuracy": ACCURACY})
    beside = table[table["against"] != "dense"]
    assert set(zip(beside["method"], beside["against"], strict=True)) == pairs


def test_methods_stand_beside_the_first_of_each_keep_and_seed():
    names = [
        ("soft-threshold", 0.5, 1), ("whitened-soft-threshold", 0.3, 1), ("svd", 0.5, 1), ("svd", 0.3, 1),
        ("whitened-soft-threshold", 0.5, 2), ("energy-svd", 0.5, 2), ("dense", 1.0, 1), ("dense", 1.0, 2),
    ]  # fmt: skip
    table = compare_methods([Run(*name, _logits(40)) for name in names], LABELS, {"accuracy": ACCURACY})
    beside = table[table["against"] != "dense"]
    assert set(zip(beside["method"], beside["keep"], beside["against"], strict=True)) == {
        ("svd", 0.5, "soft-threshold"),
        ("svd", 0.3, "whitened-soft-threshold"),
        ("energy-svd", 0.5, "whitened-soft-threshold"),
    }


def test_a_model_does_not_differ_from_itself():
    runs = [Run(m, k, 1, _logits(40)) for m, k in (("dense", 1.0), ("svd", 0.5), ("svd", 0.3))]
    table = compare_methods(runs, LABELS, {"accuracy": ACCURACY})
    assert len(table) == 3
    assert (table[["change", "low", "high"]] == 0).to_numpy().all()


def test_pairing_and_not_the_examples_themselves_sets_the_interval():
    nearly = _logits(100)
    nearly[:4] = nearly[:4, ::-1]
    runs = [Run("dense", 1.0, 1, _logits(100)), Run("svd", 0.5, 1, nearly)]
    row = _rows(compare_methods(runs, LABELS, {"accuracy": ACCURACY})).loc[("svd", 0.5, "dense")]
    assert row["high"] - row["low"] < 0.5 * (row["value_high"] - row["value_low"])


def test_the_interval_of_one_seed_is_the_normal_one_of_paired_examples():
    dense, other = _logits(100, 1), _logits(110, 2)
    runs = [Run("dense", 1.0, 1, dense), Run("svd", 0.5, 1, other)]
    row = _rows(compare_methods(runs, LABELS, {"accuracy": ACCURACY}, resamples=4000)).loc[
        ("svd", 0.5, "dense")
    ]
    error = (_right(other, LABELS).astype(float) - _right(dense, LABELS)).std() / np.sqrt(N)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.06)


def test_seeds_that_differ_widen_the_interval(monkeypatch):
    """Three seeds: their part of the variance is s^2 / 3, as a bootstrap widened by 3 / 2 has it."""
    monkeypatch.setattr("softjet.lowrank.compare.LEVEL", 0.6827)  # one standard deviation to each side
    wrong = (20, 60, 100)
    runs = [Run("dense", 1.0, s, np.eye(2)[LABELS]) for s in range(3)]
    runs += [Run("svd", 0.5, s, _logits(w)) for s, w in enumerate(wrong)]
    table = compare_methods(runs, LABELS, {"accuracy": ACCURACY}, resamples=4000)
    row = _rows(table).loc[("svd", 0.5, "dense")]
    examples = np.mean([_right(_logits(w), LABELS) for w in wrong], axis=0).var() / N
    seeds = np.var(np.array(wrong) / N, ddof=1) / 3
    assert (row["high"] - row["low"]) / 2 == pytest.approx(np.sqrt(examples + seeds), rel=0.1)


def test_ratio_metrics_change_by_a_ratio():
    tokens = np.full(N, 10.0)
    nll = np.random.default_rng(1).normal(30, 1, N)
    runs = [
        Run("dense", 1.0, 1, np.stack([tokens, nll], 1)),
        Run("svd", 0.5, 1, np.stack([tokens, nll + np.log(1.1) * 10], 1)),
    ]
    row = _rows(compare_methods(runs, LABELS, {"perplexity": PERPLEXITY})).loc[("svd", 0.5, "dense")]
    assert row[["change", "low", "high"]].tolist() == pytest.approx([1.1] * 3)
    assert (row["change_is"], row["better"]) == ("ratio", "lower")


def test_other_methods_stand_beside_soft_thresholds_at_the_same_keep_alone():
    runs = [
        Run("dense", 1.0, 1, _logits(10)),
        Run("soft-threshold", 0.5, 1, _logits(20)),
        Run("svd", 0.5, 1, _logits(40)),
        Run("svd", 0.3, 1, _logits(60)),
    ]
    rows = _rows(compare_methods(runs, LABELS, {"accuracy": ACCURACY}))
    assert rows.loc[("svd", 0.5, "soft-threshold"), "change"] == pytest.approx(-20 / N)
    assert ("svd", 0.3, "soft-threshold") not in rows.index


def test_a_plain_function_gives_what_its_sums_give():
    runs = [Run("dense", 1.0, 1, _logits(40)), Run("svd", 0.5, 1, _logits(70, 3))]
    both = {"sums": ACCURACY, "examples": Metric(of_examples(_accuracy))}
    table = compare_methods(runs, LABELS, both, resamples=50)
    one, other = (table[table["metric"] == name].drop(columns="metric") for name in both)
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


def test_resamples_keep_the_size_of_every_stratum(monkeypatch):
    monkeypatch.setattr("softjet.lowrank.resampling.CELLS", 3 * N)  # several pieces
    strata = np.repeat([0, 1, 2], [N // 2, N // 4, N // 4])
    first, *others = draw_counts(strata, 10, seed=1)
    counts = np.concatenate(others)
    assert (first == 1).all()
    assert counts.shape == (10, N)
    for one in range(3):
        assert (counts[:, strata == one].sum(1) == (strata == one).sum()).all()
    assert len(np.unique(counts, axis=0)) == 10
    assert counts.var() == pytest.approx(1, abs=0.1)  # drawn with replacement


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_measured_is_said(value):
    never = Metric(lambda outputs, labels, counts: np.full(len(counts), value))
    row = compare_methods([Run("dense", 1.0, 1, _logits(1))], LABELS, {"rejection": never}).iloc[0]
    assert np.isnan(row["change"])
    assert row["note"].startswith("not measured")


@pytest.mark.parametrize(
    ("runs", "problem"),
    [
        ([Run("svd", 0.5, 2, _logits(1))], "no dense run"),
        ([Run("dense", 1.0, 1, _logits(1))], "given twice"),
        ([Run("svd", 0.5, 1, _logits(1)[1:])], "are of 399 examples"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(runs, problem):
    with pytest.raises(InputError, match=problem):
        compare_methods([Run("dense", 1.0, 1, _logits(1)), *runs], LABELS, {"accuracy": ACCURACY})


def test_sizes_are_means_over_seeds_and_none_may_lack():
    table = pd.DataFrame({"method": ["svd", "dense"], "keep": [0.5, 1.0]})
    sizes = pd.DataFrame(
        {
            "method": ["svd", "svd", "dense"],
            "keep": [0.5, 0.5, 1.0],
            "seed": [1, 2, 1],
            "keep_total": [0.4, 0.6, 1],
        }
    )
    assert add_sizes(table, sizes)["keep_total"].tolist() == [0.5, 1.0]
    with pytest.raises(InputError, match=r"svd-0\.5"):
        add_sizes(table, sizes[sizes["method"] == "dense"])


def test_equivalence_wants_the_whole_interval_within_the_margin():
    low, high = np.array([-0.004, -0.006, -0.02]), np.array([0.004, 0.001, 0.03])
    assert within(low, high, 0.005).tolist() == [True, False, False]
    assert within([0.92, 0.85], [1.08, 1.0], 0.1, "ratio").tolist() == [True, False]


def _course(changes, half_width=0.004, better="higher", change_is="difference"):
    keeps = [0.8, 0.7, 0.6, 0.5][: len(changes)]
    table = pd.DataFrame({"keep": keeps, "change": changes})
    return table.assign(
        metric="m", method="svd", against="dense", better=better, change_is=change_is,
        low=table["change"] - half_width, high=table["change"] + half_width,
    )  # fmt: skip


def test_largest_removed_is_what_goes_before_the_first_that_is_worse():
    row = largest_removed(_course([0.02, -0.008, -0.02, 0.0]), margin=0.01).iloc[0]
    assert row["removed"] == pytest.approx(0.3)
    assert row["shown"] == pytest.approx(0.2)
    assert largest_removed(_course([-0.02, 0.0]), margin=0.01)["removed"].tolist() == [0]
    lower = _course([1.0, 1.04, 1.2], better="lower", change_is="ratio")
    assert largest_removed(lower, margin=0.05)["removed"].iloc[0] == pytest.approx(0.3)


def test_what_was_not_measured_neither_can_go_nor_ends_the_series():
    none = largest_removed(_course([np.nan, np.nan]), margin=0.01).iloc[0]
    assert np.isnan([none["removed"], none["shown"]]).all()
    gap = largest_removed(_course([0.0, np.nan, 0.0, -0.02]), margin=0.01).iloc[0]
    assert [gap["removed"], gap["shown"]] == pytest.approx([0.4, 0.4])
    without = largest_removed(_course([0.0, 0.0], half_width=np.nan), margin=0.01).iloc[0]
    assert without["removed"] == pytest.approx(0.3)
    assert np.isnan(without["shown"])


def test_largest_removed_is_of_any_size():
    table = _course([0.0, 0.0]).assign(keep_blocks=[0.75, 0.6])
    assert largest_removed(table, 0.01, size="keep_blocks")["removed"].iloc[0] == pytest.approx(0.4)


def test_a_change_is_alike_only_when_its_whole_interval_lies_within_the_margin():
    rows = [
        ("difference", -0.009, 0.009),
        ("difference", -0.011, 0.0),
        ("ratio", 0.91, 1.09),
        ("ratio", 0.95, 1.11),
    ]
    table = add_equivalence(pd.DataFrame(rows, columns=["change_is", "low", "high"]))
    assert table["alike"].tolist() == [True, False, True, False]
