import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from softjet.errors import InputError
from softjet.jets.schema import CLASSES
from softjet.part.auc import auc_contributions
from softjet.part.compare import compare, compare_tables
from softjet.part.evaluate import logits_table
from softjet.part.rejection import WorkingPoint, scores, survivors


def _logits(labels, right, seed):
    """Logits that put a share `right` of the jets into their own class, noise elsewhere."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(len(labels), len(CLASSES)))
    chosen = generator.random(len(labels)) < right
    logits[np.flatnonzero(chosen), labels[chosen]] += 6
    return logits


@pytest.fixture(scope="module")
def jets():
    labels = np.repeat(np.arange(10), 300)
    return labels, _logits(labels, 0.6, 1), _logits(labels, 0.4, 2)


def test_a_model_does_not_differ_from_itself(jets):
    labels, _, _ = jets
    weak = _logits(labels, 0.2, 1)
    table = compare(weak, weak, labels)
    differences = table[table.metric.isin(["accuracy", "auc"])]
    assert (differences[["change", "low", "high"]] == 0).to_numpy().all()
    ratios = table[table.metric.str.startswith("rejection") & (table.note == "")]
    assert len(ratios)
    assert (ratios[["change", "low", "high"]] == 1).to_numpy().all()


def test_a_worse_model_is_seen_to_be_worse(jets):
    labels, dense, compressed = jets
    row = compare(dense, compressed, labels).set_index("metric").loc["accuracy"]
    assert row.reference == pytest.approx((dense.argmax(1) == labels).mean())
    assert row.change == pytest.approx(row.other - row.reference)
    assert row.low < row.change < row.high < 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_interval_of_the_change_of_the_auc_is_that_of_a_paired_u_statistic(jets, seed):
    """By DeLong: the spread of what each jet adds to the one AUC less what it adds to the other."""
    labels, dense, compressed = jets
    row = compare(dense, compressed, labels, seed=seed).set_index("metric").loc["auc"]
    found = [auc_contributions(softmax(logits, axis=1), labels) for logits in (compressed, dense)]
    error = np.sqrt(sum((a - b).var() / len(a) for a, b in zip(*found, strict=True)))
    reach = 1.96 * error
    assert row.low == pytest.approx(row.change - reach, abs=0.15 * reach)
    assert row.high == pytest.approx(row.change + reach, abs=0.15 * reach)


def test_intervals_are_those_of_drawn_jets_however_many_are_held_at_a_time(jets, monkeypatch):
    labels, _, _ = jets
    weak, weaker = (_logits(labels, right, 3) for right in (0.3, 0.2))
    table = compare(weak, weaker, labels)
    monkeypatch.setattr("softjet.part.compare.CELLS", 7 * len(labels))
    pd.testing.assert_frame_equal(compare(weak, weaker, labels), table)
    row = table[table.note.eq("") & table.metric.eq("rejection_50")].iloc[0]
    ratios = []
    for i in range(1000):
        drawn = np.random.default_rng([1, i])
        members = [np.flatnonzero(labels == one) for one in range(10)]
        chosen = np.concatenate([m[drawn.integers(len(m), size=len(m))] for m in members])
        point = WorkingPoint(row["class"], "QCD", 50.0)
        passing = [
            survivors(*scores(x[chosen], labels[chosen], CLASSES, point), np.array([0.5]))[0]
            for x in (weaker, weak)
        ]
        ratios.append(passing[1] / passing[0])
    assert [row.low, row.high] == pytest.approx(np.quantile(ratios, [0.025, 0.975]))


def test_pairing_shrinks_the_interval():
    labels = np.repeat(np.arange(10), 300)
    dense = _logits(labels, 0.6, 1)
    nearly = dense.copy()
    nearly[::100] = -nearly[::100]
    row = compare(dense, nearly, labels).iloc[0]
    unpaired = 2 * 1.96 * np.sqrt(2 * 0.6 * 0.4 / len(labels))
    assert row.high - row.low < unpaired / 3


def test_few_survivors_are_not_measured(jets):
    labels, dense, compressed = jets
    few = np.concatenate([np.flatnonzero(labels == i)[:40] for i in range(10)])
    table = compare(dense[few], compressed[few], labels[few])
    rejections = table[table.metric.str.startswith("rejection")]
    assert rejections.change.isna().all()
    assert rejections.note.str.startswith("not measured").all()


def test_few_signal_jets_below_the_cut_are_not_measured(jets):
    """Of 300 jets of Tbl one is below the cut at 99.5 %, with almost all of the background above it."""
    row = compare(jets[1], jets[2], jets[0]).set_index("metric").loc["rejection_99.5"]
    assert row.note == "not measured (1 of 300 signal jets below the cut; needs 2000 signal jets)"
    assert np.isnan(row[["reference", "other", "change", "low", "high"]].astype(float)).all()


def test_rejection_of_a_class_without_jets_is_left_out(jets):
    labels, dense, compressed = jets
    kept = labels != CLASSES.index("Tbl")
    table = compare(dense[kept], compressed[kept], labels[kept])
    assert "Tbl" not in set(table["class"])
    assert "auc" not in set(table.metric)


def test_tables_are_compared_on_the_same_jets_only(jets):
    labels, dense, other = jets
    rows = np.arange(len(labels))
    first, second = (logits_table(logits, labels, rows) for logits in (dense, other))
    assert (
        compare_tables(first, second).iloc[0]["reference"]
        == compare(dense, other, labels).iloc[0]["reference"]
    )
    with pytest.raises(InputError, match="other jets"):
        compare_tables(first, logits_table(other, labels, rows + 1))
    with pytest.raises(InputError, match="classes"):
        compare_tables(first, second.rename(columns={"logit_Tbl": "logit_Top"}))
