"""What the report says of language models, with and without rank learning and jets."""

import numpy as np
import pandas as pd
import pytest

from softjet.config.language import Task
from softjet.figures.chapters import build
from softjet.figures.chapters.found import find_most_important
from softjet.figures.chapters.language import language_parts
from softjet.language.metrics import metrics_table

SOURCE = {"package": "some-package"}
TASKS = {
    "mrpc": {"name": "mrpc", "source": SOURCE},
    "mine": {"name": "text", "source": SOURCE, "length": 16, "stride": 8},
}
LANGUAGE = {
    "mp": {"family": "mpnet", "task": "mrpc", "note": ""},
    "gpt": {"family": "gpt2", "task": "mine", "note": "trained here"},
}
SETTINGS = {"datasets": {}, "part": {}, "comparisons": [], "tasks": TASKS, "language": LANGUAGE}


def compressed(base, method="soft-threshold"):
    return {f"small-{base}": {"base": base, "note": "", "shown": f"{method}-0.5-1"}}


@pytest.fixture
def results(tmp_path):
    labels = np.zeros(40, int)
    sentences = pd.DataFrame({"label": labels, "logit_0": 1.0, "logit_1": np.linspace(0, 2, 40)})
    windows = pd.DataFrame({"tokens": 8, "nll": np.linspace(30, 50, 40)})
    for model, examples in (("mp", sentences), ("gpt", windows)):
        folder = tmp_path / "language" / model
        folder.mkdir(parents=True)
        task = Task.model_validate(TASKS[LANGUAGE[model]["task"]])
        metrics_table(examples, task).to_parquet(folder / "metrics.parquet")
    return tmp_path


def test_each_metric_of_each_model_has_its_row(results):
    (table,) = language_parts(results, SETTINGS)
    accuracy, f1, perplexity = table.frame.to_dict("records")
    assert (accuracy["model"], accuracy["family"], accuracy["task"]) == ("mp", "mpnet", "mrpc")
    assert accuracy["value [95 %]"].startswith("0.500 [")
    assert f1["value [95 %]"] == "not measured"
    assert f1["remark"] == "not measured: the examples are of one class"
    assert (perplexity["model"], perplexity["task"]) == ("gpt (trained here)", "mine (text)")
    assert perplexity["value [95 %]"].startswith("148.4 [")
    assert (perplexity["n"], perplexity["remark"]) == (
        40,
        "320 tokens scored in windows of 16, one every 8",
    )


def test_what_is_not_made_smaller_is_found_by_itself(results):
    first, second = find_most_important(results, SETTINGS | {"compress": {}}, {})
    assert first.topic == "Language model: mp"
    assert first.text.startswith("mp reaches an accuracy of 0.500 [")
    assert first.text.endswith("] and an F1 score that cannot be measured on mrpc, n = 40.")
    assert second.text.startswith("gpt (trained here) reaches a perplexity of 148.4 [")
    assert second.text.endswith("] on mine (text), n = 40.")


def test_of_what_is_made_smaller_one_finding_is_enough(results, monkeypatch):
    monkeypatch.setattr("softjet.figures.chapters.found._size_finding", lambda *_: "smaller")
    found = list(find_most_important(results, SETTINGS | {"compress": compressed("gpt")}, {}))
    assert [finding.topic for finding in found] == ["Language model: mp", "Fewer parameters: small-gpt"]


NET = {"net": {"weights": None}}
SMALLER = "From files of jets through training, attention and learned ranks to time"


@pytest.mark.parametrize(
    ("settings", "title", "done"),
    [
        ({}, "How well language models do", "Language models on their tasks"),
        (
            {"compress": compressed("gpt")},
            "How small transformers can be",
            "Language models, learned ranks and time",
        ),
        (
            {"compress": compressed("gpt", "svd")},
            "How small transformers can be",
            "Language models, fewer parameters and time",
        ),
        (
            {"part": NET},
            "What Particle Transformer attends to, and how well language models do",
            "From files of jets through training to attention, with language models beside jets",
        ),
        (
            {"part": NET, "compress": compressed("gpt")},
            "What Particle Transformer attends to, and how small language models can be",
            f"{SMALLER}, with language models beside jets",
        ),
        (
            {"part": NET, "compress": compressed("net")},
            "What Particle Transformer attends to, and how small it can be",
            f"{SMALLER}, with language models beside jets",
        ),
        ({"language": {}}, "What jets there are", "From files of jets to their tables"),
    ],
)
def test_head_says_what_there_is(monkeypatch, tmp_path, settings, title, done):
    written = []
    for place in [name for name in vars(build) if name.endswith("_parts")] + ["find_most_important"]:
        monkeypatch.setattr(build, place, lambda *_: iter(()))
    monkeypatch.setattr(build, "write_report", lambda *parts: written.extend(parts))
    settings = SETTINGS | {"compress": {}} | settings
    build.build_report(tmp_path / "report.html", tmp_path, settings, {"net": {}})
    assert written[1] == title
    assert written[2].startswith(f"{done}, in one workflow. Written on ")
    headings = [section.heading for section in written[4]]
    assert ("Language models" in headings) == bool(settings["language"])
