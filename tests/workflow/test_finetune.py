"""Runs that start from another: which rules make them, by dry runs."""

import pytest
from test_import import plan

pytestmark = pytest.mark.workflow

CONFIG = """
part:
  tuned: {start_from: START, training: {schedule: constant, head_rate: 50}}
tasks: null
language: null
compress: null
"""
TARGET = "results/part/tuned/model.safetensors"


def test_fine_tuning_waits_for_the_run_it_starts_from(tmp_path):
    jobs, output = plan(tmp_path, CONFIG.replace("START", "reference"), TARGET)
    assert jobs["train_part"] == 2, output[-3000:]


def test_fine_tuning_takes_a_model_that_is_there(tmp_path):
    folder = tmp_path / "models" / "theirs"
    folder.mkdir(parents=True)
    for name in ("model.safetensors", "config.json"):
        (folder / name).touch()
    jobs, output = plan(tmp_path, CONFIG.replace("START", "models/theirs"), TARGET)
    assert jobs["train_part"] == 1, output[-3000:]


def test_fine_tuning_from_nothing_is_one_line(tmp_path):
    _, output = plan(tmp_path, CONFIG.replace("START", "nobody"), TARGET)
    assert "part.tuned.start_from: 'nobody' is no run, and no folder (with a /)" in output
