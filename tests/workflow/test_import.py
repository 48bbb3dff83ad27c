"""Runs whose weights are imported: which rules make them, by dry runs."""

import pytest
import running

pytestmark = pytest.mark.workflow

CONFIG = """
part:
  reference: null
  theirs:
    weights: {name: mine, folder: weights}
tasks: null
language: null
compress: null
"""


def plan(folder, config, *targets):
    """Dry run: how often each rule would run, and what was said."""
    (folder / "mine.yaml").write_text(config)
    found = running.plan(folder, "--", *targets, config=folder / "mine.yaml")
    return found.jobs, found.said


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mine.pt").touch()
    return tmp_path


def test_imported_run_is_reported_without_a_training(weights):
    jobs, output = plan(weights, CONFIG, "all")
    assert jobs["import_part"] == jobs["evaluate_part"] == jobs["report"] == 1, output[-3000:]
    assert not {"train_part", "draw_training", "fetch_weights"} & set(jobs)
    assert "history" not in output


def test_untrained_twin_takes_the_shape_of_the_weights(weights):
    jobs, _ = plan(weights, CONFIG, "results/part/theirs-untrained/model.safetensors")
    assert jobs["import_part"] == jobs["initialise_part"] == 1


def test_published_weights_are_fetched(tmp_path):
    config = CONFIG.replace("{name: mine, folder: weights}", "{name: ParT_kin}")
    jobs, _ = plan(tmp_path, config, "results/part/theirs/model.safetensors")
    assert jobs == {"fetch_weights": 1, "import_part": 1}


def test_absent_weights_are_named_and_never_trained_instead(tmp_path):
    jobs, output = plan(tmp_path, CONFIG, "results/part/theirs/model.safetensors")
    assert not jobs
    assert "weights/mine.pt" in output


def test_trained_run_is_not_imported(tmp_path):
    jobs, _ = plan(tmp_path, "compress: {part: null}", "results/part/reference/model.safetensors")
    assert jobs["train_part"] == 1
    assert "import_part" not in jobs
