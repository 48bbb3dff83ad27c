"""Metrics of counted jets are those of the jets written out."""

import numpy as np
import pytest
from scipy.special import softmax

from softjet.part.auc import macro_auc
from softjet.part.evaluate import accuracy
from softjet.part.rejection import WorkingPoint, scores, survivors
from softjet.part.resampled import resampled_metrics, resampled_rejection

CLASSES = ("QCD", "Hbb", "Tbl")


@pytest.fixture(scope="module")
def jets():
    generator = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [900, 500, 400])
    logits = generator.normal(size=(len(labels), 3)).round(1)  # ties among scores
    logits[np.arange(len(labels)), labels] += 0.7
    counts = np.zeros((6, len(labels)))
    for row in counts[1:]:
        for i in range(3):
            members = np.flatnonzero(labels == i)
            np.add.at(row, generator.choice(members, len(members)), 1)
    counts[0] = 1
    return logits, labels, counts


def _written_out(metric, logits, labels, counts):
    drawn = [np.repeat(np.arange(len(labels)), row.astype(int)) for row in counts]
    return [metric(logits[d], labels[d]) for d in drawn]


def test_accuracy(jets):
    found = resampled_metrics(CLASSES)["accuracy"](*jets)
    assert found.tolist() == pytest.approx(_written_out(lambda x, y: accuracy(x, y, 3)[0], *jets))


def test_rejections(jets):
    for point in (WorkingPoint("Hbb", "QCD", 50.0), WorkingPoint("Tbl", "QCD", 97.5)):

        def rejection(logits, labels, point=point):
            signal, background = scores(logits, labels, CLASSES, point)
            return len(background) / survivors(signal, background, np.array([point.percent / 100]))[0]

        found = resampled_rejection(*jets, CLASSES, point)
        assert found.tolist() == pytest.approx(_written_out(rejection, *jets))


def test_auc_is_right_to_first_order(jets):
    found = resampled_metrics(CLASSES)["auc"](*jets)
    true = _written_out(lambda x, y: macro_auc(softmax(x, axis=1), y)[0], *jets)
    assert found[0] == pytest.approx(true[0])
    assert np.abs(found - true).max() < 0.1 * np.std(true)


def test_few_signal_jets_below_the_cut_are_not_measured(jets):
    assert np.isnan(resampled_metrics(CLASSES)["rejection_99.5 Tbl"](*jets)).all()


def test_few_survivors_and_missing_classes_are_not_measured(jets):
    logits, labels, counts = jets
    few = np.concatenate([np.flatnonzero(labels == i)[:60] for i in range(3)])
    point = WorkingPoint("Hbb", "QCD", 50.0)
    assert np.isnan(resampled_rejection(logits[few], labels[few], counts[:, few], CLASSES, point)).all()
    kept = labels != 1
    for name in ("auc", "rejection_50 Hbb"):
        assert np.isnan(resampled_metrics(CLASSES)[name](logits[kept], labels[kept], counts[:, kept])).all()
