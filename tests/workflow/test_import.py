"""Runs whose weights are imported: which rules make them, by dry runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]
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
    command = [Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile", "--dry-run"]
    command += ["--directory", folder, "--cores", "1", "--workflow-profile", ROOT / "profiles" / "default"]
    command += ["--configfile", ROOT / "config" / "config.yaml", folder / "mine.yaml", "--", *targets]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=60, env=environment
    )
    output = done.stdout + done.stderr
    table = output.rpartition("Job stats:")[2].partition("total")[0]
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", table, re.M)}, output


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
