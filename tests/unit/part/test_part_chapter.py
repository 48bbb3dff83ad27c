"""What the report says of a trained and of an imported run."""

import numpy as np
import pandas as pd
import pytest

from softjet.figures.chapters.training import training_parts
from softjet.figures.report import Picture, Text
from softjet.part.checkpoint import save_part
from softjet.part.evaluate import metrics_table
from softjet.part.literature import beside_published
from softjet.part.pair_forms import compare_pair_forms
from softjet.provenance.sidecar import write_sidecar

CLASSES = ("QCD", "Hbb")


@pytest.fixture
def results(tmp_path, model, jets):
    folder = tmp_path / "part" / "mine"
    save_part(folder, model)
    logits = np.random.default_rng(0).normal(size=(64, 2))
    metrics = beside_published(metrics_table(logits, jets.labels.numpy(), CLASSES), CLASSES)
    metrics.to_parquet(folder / "metrics.parquet")
    compare_pair_forms(model, jets).to_parquet(folder / "pair_forms.parquet")
    return tmp_path


def told(results, settings):
    parts = list(training_parts(results, "mine", {"training": {"batch_size": 16}} | settings))
    pictures = [part.path.name for part in parts if isinstance(part, Picture)]
    return " ".join(part.text for part in parts if isinstance(part, Text)), pictures


def test_imported_run_says_from_where_and_shows_no_history(results):
    weights = results / "part" / "mine" / "model.safetensors"
    write_sidecar(weights, {"notes": {"source": "weights/mine.pt", "sha256": "abc123"}})
    text, pictures = told(results, {"weights": {"name": "mine"}})
    assert "imported, not trained here: weights/mine.pt, SHA-256 abc123" in text
    assert "steps" not in text
    assert pictures == ["confusion.png", "roc.png"]


def test_trained_run_says_how_long(results):
    history = pd.DataFrame({"step": range(1, 31), "jets_per_second": 100.0})
    history.to_parquet(results / "part" / "mine" / "history.parquet")
    text, pictures = told(results, {"weights": None})
    assert "Trained for 30 steps of about 16 jets (about 480 jets seen" in text
    assert pictures == ["history.png", "confusion.png", "roc.png"]


@pytest.mark.parametrize(("batch_size", "short"), [(600_000, True), (700_000, False)])
def test_only_a_short_training_is_called_one(results, batch_size, short):
    history = pd.DataFrame({"step": range(1, 31), "jets_per_second": 100.0})
    history.to_parquet(results / "part" / "mine" / "history.parquet")
    text, _ = told(results, {"training": {"batch_size": batch_size}})
    assert ("short training" in text) == short


def test_fine_tuned_run_says_from_what(results):
    history = pd.DataFrame({"step": range(1, 31), "jets_per_second": 100.0})
    history.to_parquet(results / "part" / "mine" / "history.parquet")
    text, pictures = told(results, {"weights": None, "start_from": "reference"})
    assert (
        "Fine-tuned from reference: 30 steps of about 16 jets (about 480 jets seen) at 100 jets a second."
        in text
    )
    assert "short training" not in text
    assert "512 million" not in text
    assert pictures == ["history.png", "confusion.png", "roc.png"]


def test_rounding_of_pair_masses_is_told_with_the_number_of_jets(results):
    pd.DataFrame({"step": [1], "jets_per_second": [1.0]}).to_parquet(
        results / "part" / "mine" / "history.parquet"
    )
    text, _ = told(results, {})
    assert "On 64 test jets its published form lies up to" in text
