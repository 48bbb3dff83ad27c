"""Metrics against scikit-learn, and the intervals of their table."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from softjet.config.language import Source, Task
from softjet.language.metrics import accuracy, f1, matthews, metrics_of, metrics_table, outputs_of, perplexity


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(accuracy, accuracy_score), (f1, f1_score), (matthews, matthews_corrcoef)]
)
def test_metrics_of_sentences_are_scikit_learns(ours, theirs, share):
    generator = np.random.default_rng(1)
    labels = (generator.random(200) < share).astype(int)
    logits = generator.normal(size=(200, 2)) + np.eye(2)[labels]
    assert ours(logits, labels) == pytest.approx(theirs(labels, logits.argmax(1)))
    constant = np.tile([1.0, 0.0], (200, 1))
    assert ours(constant, labels) == pytest.approx(theirs(labels, constant.argmax(1)))


@pytest.mark.parametrize("choice", [[1.0, 0.0], [0.0, 1.0]])
def test_what_asks_for_two_classes_is_not_measured_on_one(choice):
    """Nor is it 0, which two models would have in common."""
    logits, zeros = np.tile(choice, (50, 1)), np.zeros(50, int)
    assert math.isnan(f1(logits, zeros))
    assert math.isnan(matthews(logits, zeros))
    assert math.isnan(matthews(logits, zeros + 1))
    examples = pd.DataFrame(
        {"example": range(50), "label": zeros, "logit_0": choice[0], "logit_1": choice[1]}
    )
    table = metrics_table(examples, task("cola")).set_index("metric")
    assert table.loc["matthews", ["value", "low", "high"]].isna().all()
    assert table.loc["matthews", "note"] == "not measured: the examples are of one class"
    assert table.loc["accuracy", "note"] == ""
    assert table.loc["accuracy", ["low", "high"]].tolist() == 2 * [choice[0]]


@pytest.mark.parametrize(("n", "told"), [(1, False), (4, False), (5, True)])
def test_few_windows_have_no_interval(n, told):
    examples = pd.DataFrame({"window": range(n), "tokens": 31, "nll": np.linspace(90.0, 95.0, n)})
    row = metrics_table(examples, task("wikitext2", length=32)).iloc[0]
    assert row["value"] > 1
    assert row[["low", "high"]].notna().tolist() == [told, told]
    assert row["note"].startswith(f"{31 * n} tokens")


def test_a_resample_of_one_class_does_not_undo_the_interval():
    labels = np.array([1, *[0] * 5])
    examples = pd.DataFrame({"example": range(6), "label": labels, "logit_0": 0.5, "logit_1": labels * 1.0})
    row = metrics_table(examples, task("cola")).set_index("metric").loc["matthews"]
    assert row[["value", "low", "high"]].tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_perplexity_weighs_windows_by_their_tokens():
    windows = np.array([[10, 20.0], [30, 15.0]])
    assert perplexity(windows, np.zeros(2, int)) == pytest.approx(math.exp(35 / 40))


@pytest.mark.parametrize(("others", "low"), [(60000.0, math.inf), (10.0, math.e)])
def test_perplexity_beyond_all_numbers_is_infinite(others, low):
    windows = pd.DataFrame({"window": range(6), "tokens": 10, "nll": [60000.0, *[others] * 5]})
    row = metrics_table(windows, task("text"), 200).iloc[0]
    assert (row["value"], row["low"], row["high"]) == (math.inf, pytest.approx(low), math.inf)


def test_metrics_of_tasks_are_those_of_glue():
    names = {task: list(metrics_of(task)) for task in ("sst2", "mnli", "mrpc", "qqp", "cola", "wikitext2")}
    assert names == {
        "sst2": ["accuracy"],
        "mnli": ["accuracy"],
        "mrpc": ["accuracy", "f1"],
        "qqp": ["accuracy", "f1"],
        "cola": ["matthews", "accuracy"],
        "wikitext2": ["perplexity"],
    }


def task(name, **changes):
    return Task(name=name, source=Source(folder="x"), **changes)


def test_interval_of_accuracy_is_that_of_a_binomial():
    generator = np.random.default_rng(2)
    labels = generator.integers(2, size=800)
    right = generator.random(800) < 0.85
    logits = np.eye(2)[np.where(right, labels, 1 - labels)]
    examples = pd.DataFrame({"example": range(800), "label": labels})
    examples[["logit_0", "logit_1"]] = logits
    row = metrics_table(examples, task("sst2")).iloc[0]
    width = 1.96 * math.sqrt(right.mean() * (1 - right.mean()) / 800)
    assert (row["metric"], row["n"], row["note"]) == ("accuracy", 800, "")
    assert row["value"] == pytest.approx(right.mean())
    assert row["value"] - row["low"] == pytest.approx(width, rel=0.12)
    assert row["high"] - row["value"] == pytest.approx(width, rel=0.12)


def test_perplexity_says_tokens_context_and_stride():
    generator = np.random.default_rng(3)
    examples = pd.DataFrame({"window": range(50), "tokens": 31, "nll": generator.normal(93, 6, 50)})
    row = metrics_table(examples, task("wikitext2", length=32)).iloc[0]
    assert row["note"] == "1550 tokens scored in windows of 32, one every 32"
    assert "one every 8" in metrics_table(examples, task("wikitext2", length=32, stride=8))["note"][0]
    spread = 1.96 * examples["nll"].std() / 31 / math.sqrt(50)
    assert math.log(row["high"] / row["low"]) == pytest.approx(2 * spread, rel=0.15)


def test_order_of_logits_is_that_of_the_classes():
    columns = {"example": [0], "label": [2], "logit_0": [0.0], "logit_1": [1.0], "logit_2": [2.0]}
    outputs, labels = outputs_of(pd.DataFrame(columns))
    assert outputs.tolist() == [[0.0, 1.0, 2.0]]
    assert labels.tolist() == [2]


def test_stride_larger_than_length_is_refused():
    with pytest.raises(ValueError, match="stride"):
        task("wikitext2", length=16, stride=17)
