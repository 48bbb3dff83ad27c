import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from softjet.jets.schema import CLASSES
from softjet.part.auc import macro_auc
from softjet.part.evaluate import accuracy, confusion_table, logits_table, metrics_table, roc_table
from softjet.part.rejection import rejection_interval, survivors, working_points

POINTS = working_points(CLASSES)


def sample(n_each, separation, classes=CLASSES, seed=0):
    """Logits of unit spread, raised by `separation` at the true class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(len(classes)).repeat(n_each)
    logits = generator.normal(size=(len(labels), len(classes)))
    logits[np.arange(len(labels)), labels] += separation
    return logits, labels


def row(table, metric, name):
    return table[(table["metric"] == metric) & (table["class"] == name)].iloc[0]


@pytest.fixture(scope="module")
def weak():
    return sample(600, 1.0)


@pytest.fixture(scope="module")
def table(weak):
    return metrics_table(*weak)


def test_table_has_every_metric_of_the_paper(table):
    assert {point.signal for point in POINTS} == set(CLASSES) - {"QCD"}
    names = [("accuracy", "all"), *(("accuracy", name) for name in CLASSES), ("auc", "all")]
    names += [(point.metric, point.signal) for point in POINTS]
    assert list(zip(table["metric"], table["class"], strict=True)) == names


def test_accuracy_counts_jets(weak, table):
    logits, labels = weak
    right = logits.argmax(1) == labels
    assert row(table, "accuracy", "all")["value"] == pytest.approx(right.mean())
    hbb = row(table, "accuracy", "Hbb")
    assert hbb["value"] == pytest.approx(right[labels == 1].mean())
    assert hbb["n"] == 600
    spread = math.sqrt(hbb["value"] * (1 - hbb["value"]) / 600)
    assert hbb["high"] - hbb["low"] == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_auc_is_scikit_learns(weak, table):
    logits, labels = weak
    expected = roc_auc_score(labels, softmax(logits, axis=1), multi_class="ovo", average="macro")
    assert row(table, "auc", "all")["value"] == pytest.approx(expected, abs=1e-12)
    few = np.round(softmax(logits, axis=1), 1)[:, :2]
    ties = few[labels < 2], labels[labels < 2]
    expected = (roc_auc_score(ties[1], ties[0][:, 1]) + roc_auc_score(1 - ties[1], ties[0][:, 0])) / 2
    assert macro_auc(*ties)[0] == pytest.approx(expected, abs=1e-12)


def test_error_of_the_auc_is_the_spread_of_repeated_samples():
    found = [macro_auc(*sample(60, 1.0, CLASSES[:3], seed)) for seed in range(300)]
    values, errors = np.array(found).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.1)


def test_rejection_is_that_of_the_roc_curve(weak, table):
    logits, labels = weak
    for name, _, percent in POINTS:
        pair = np.isin(labels, (0, CLASSES.index(name)))
        odds = np.exp(logits[pair])[:, [0, CLASSES.index(name)]]
        fpr, tpr, _ = roc_curve(labels[pair] != 0, odds[:, 1] / odds.sum(1), drop_intermediate=False)
        expected = fpr[np.argmax(tpr >= percent / 100)]
        found = row(table, f"rejection_{percent:g}", name)
        assert found["survivors"] == round(expected * 600)
        assert (found["note"] == "") == (percent == 50 and found["survivors"] >= 50)
        if not found["note"]:
            assert found["value"] == pytest.approx(1 / expected)
            assert found["low"] < found["value"] < found["high"]


def test_survivors_are_at_or_above_a_threshold_that_keeps_enough():
    """Half of three signal jets is two of them; a jet on the threshold survives."""
    signal, background = np.array([3.0, 1.0, 2.0]), np.array([0.0, 2.0, 1.5, 4.0])
    assert list(survivors(signal, background, np.array([0.1, 0.5, 2 / 3, 1.0]))) == [1, 2, 2, 3]


def test_interval_of_a_rejection_holds_the_truth():
    """Score differences of signal and background are Gaussians a known distance apart."""
    truth = 1 / norm.sf(2.0 / math.sqrt(2))
    classes = ("QCD", "Hbb")
    tables = [metrics_table(*sample(1500, 1.0, classes, seed), classes) for seed in range(40)]
    intervals = [row(table, "rejection_50", "Hbb") for table in tables]
    covered = sum(interval["low"] < truth < interval["high"] for interval in intervals)
    assert 33 <= covered <= 40


def test_too_few_survivors_are_not_quoted():
    logits, labels = sample(400, 1.2)
    found = row(metrics_table(logits, labels), "rejection_50", "Hbb")
    k = int(found["survivors"])
    assert 0 < k < 50
    assert np.isnan(found[["value", "low", "high"]].astype(float)).all()
    assert found["note"] == f"not measured ({k} of 400 jets survive; needs about {math.ceil(20000 / k)})"
    none = row(metrics_table(*sample(40, 60.0)), "rejection_50", "Hbb")
    assert none["note"] == "not measured (0 of 40 jets survive; needs over 2000)"


def test_interval_of_a_rejection_holds_the_truth_with_few_signal_jets_below_the_cut():
    """Two of 400 are expected there, which a bootstrap of the jets would hold the truth with in half."""
    generator, truth, covered = np.random.default_rng(0), 1 / norm.sf(norm.ppf(0.005, 3)), 0
    for _ in range(200):
        signal, background = generator.normal(3, 1, 400), generator.normal(0, 1, 6000)
        low, high = rejection_interval(signal, background, 0.995, generator, 400, 0.95)
        covered += low <= truth <= high
    assert covered >= 184


@pytest.mark.parametrize(("each", "below"), [(1000, 5), (1999, 9), (2000, 10)])
def test_rejections_with_few_signal_jets_below_the_cut_are_not_quoted(each, below):
    logits, labels = sample(each, 1.0, ("QCD", "Tbl"))
    found = row(metrics_table(logits, labels, ("QCD", "Tbl")), "rejection_99.5", "Tbl")
    curve = roc_table(logits, labels, ("QCD", "Tbl"))
    at = curve[(each * (1 - curve["efficiency"])).round() < 10]
    assert (at["survivors"] >= 50).all()
    assert not at["quoted"].any()
    if below < 10:
        counted = f"{below} of {each} signal jets below the cut; needs 2000 signal jets"
        assert found["note"] == f"not measured ({counted})"
        assert np.isnan(found[["value", "low", "high"]].astype(float)).all()
    else:
        assert found["note"] == ""
        assert found["low"] < found["value"] < found["high"]


def test_absent_classes_are_said(weak):
    logits, labels = weak
    some = labels != 3
    table = metrics_table(logits[some], labels[some])
    assert row(table, "auc", "all")["note"] == "not measured (no jets of Hgg)"
    assert row(table, "accuracy", "Hgg")["note"] == "not measured (no jets)"
    assert row(table, "rejection_50", "Hgg")["note"] == "not measured (no jets)"


def test_accuracy_is_that_of_equally_many_jets_of_each_class():
    """More jets of one class change its error, not what the accuracy means."""
    logits, labels = sample(400, 1.0, CLASSES[:3])
    more = np.concatenate([np.arange(len(labels)), *[np.flatnonzero(labels == 0)] * 5])
    value, error = accuracy(logits, labels, 3)
    again, smaller = accuracy(logits[more], labels[more], 3)
    assert again == pytest.approx(value)
    assert value == pytest.approx((logits.argmax(1) == labels).mean())
    assert smaller < error


def test_error_of_the_accuracy_is_the_spread_of_repeated_samples():
    found = [accuracy(*sample(50, 1.0, CLASSES[:3], seed), 3) for seed in range(300)]
    values, errors = np.array(found).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.1)


@pytest.mark.parametrize(
    ("classes", "metrics"),
    [
        (("QCD", "Top"), [("rejection_50", "Top"), ("rejection_30", "Top")]),
        (("gluon", "quark"), [("rejection_50", "quark"), ("rejection_30", "quark")]),
        (("QCD", "mine"), [("rejection_50", "mine")]),
    ],
)
def test_rejections_of_other_datasets(classes, metrics):
    logits, labels = sample(600, 0.7, classes)
    table = metrics_table(logits, labels, classes)
    found = table[table["metric"].str.startswith("rejection")]
    assert list(zip(found["metric"], found["class"], strict=True)) == metrics
    at_half = row(table, "rejection_50", classes[1])
    difference = logits[:, 1] - logits[:, 0]
    above = (difference[labels == 0] >= np.sort(difference[labels == 1])[300]).sum()
    assert at_half["value"] == pytest.approx(600 / above)
    assert set(roc_table(logits, labels, classes)["background"]) == {classes[0]}


def test_two_classes_without_qcd():
    table = metrics_table(*sample(100, 1.0, ("other", "top")), classes=("other", "top"))
    assert list(table["metric"]) == ["accuracy"] * 3 + ["auc"]
    assert 0.8 < table["value"].iloc[-1] < 1
    assert roc_table(*sample(100, 1.0, ("other", "top")), ("other", "top")).empty


def test_same_seed_same_intervals(weak, table):
    pd.testing.assert_frame_equal(metrics_table(*weak), table)
    assert not metrics_table(*weak, seed=2)["low"].equals(table["low"])


def test_confusion_counts_every_jet(weak):
    logits, labels = weak
    table = confusion_table(logits, labels)
    assert table["n"].sum() == len(labels)
    taken = ((labels == 2) & (logits.argmax(1) == 5)).sum()
    found = table[(table["class"] == "Hcc") & (table["predicted"] == "Hqql")].iloc[0]
    assert found["n"] == taken
    assert found["share"] == pytest.approx(taken / 600)


def test_roc_agrees_with_the_metrics(weak, table):
    roc = roc_table(*weak)
    assert set(roc["class"]) == set(CLASSES) - {"QCD"}
    for name in ("Hbb", "Wqq"):
        curve = roc[roc["class"] == name]
        assert (curve["survivors"].diff().dropna() >= 0).all()
        at = curve.iloc[(curve["efficiency"] - 0.5).abs().argmin()]
        assert at["rejection"] == pytest.approx(row(table, "rejection_50", name)["value"])


def test_logits_table_names_its_columns(weak):
    logits, labels = weak
    table = logits_table(logits, labels, np.arange(len(labels)))
    assert list(table.columns) == ["row", "label", *(f"logit_{name}" for name in CLASSES)]
    assert table["logit_Tbl"].iloc[7] == np.float32(logits[7, 9])
