"""Bad input through the real command: one line, a non-zero exit, and nothing run or left."""

import os
import subprocess
import sys
from pathlib import Path

import bad_config
import bad_weights
import pytest
import yaml
from watch import files

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]
EVIL = "a b'\"$(touch EXECUTED)`touch EXECUTED`;&|*"
WITHOUT = {"tasks": None, "language": None, "compress": None}


def snakemake(folder, config, *arguments):
    """Run the workflow in a folder with this configuration, as text or values."""
    (folder / "mine.yaml").write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    command = [Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", folder, "--cores", "1", "--workflow-profile", ROOT / "profiles" / "default"]
    # The profile's minute between two counts of jobs is waited out where a run ends early.
    command += ["--max-jobs-per-timespan", "9/1s"]
    command += ["--configfile", ROOT / "config" / "config.yaml", folder / "mine.yaml", *arguments]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=300, env=environment
    )


def test_evil_names_and_contents_are_one_line(tmp_path):
    folder = tmp_path / EVIL
    given = folder / EVIL
    given.mkdir(parents=True)
    bad_weights.PT_CASES["checkpoint that runs"].make(given)
    theirs = {"weights": {"name": "mine", "folder": str(given)}}
    done = snakemake(
        folder,
        WITHOUT | {"part": {"reference": None, "theirs": theirs}},
        "--",
        "results/part/theirs/model.safetensors",
    )
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("softjet: ")]
    assert len(lines) == 1, done.stderr[-5000:]
    assert f"{given}/mine.pt: pickle: " in lines[0]
    assert not [path for path in files(tmp_path) if path.name == "EXECUTED"]
    assert not files(folder / "results")


def test_a_bad_configuration_is_named_before_anything_is_planned(tmp_path):
    done = snakemake(tmp_path, bad_config.LAUGHS, "--dry-run")
    assert done.returncode != 0
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "mine.yaml: a12." in line]
    assert len(lines) == 1
    assert "holds more than 100000 values" in lines[0]


def test_a_name_that_the_workflow_would_read_as_its_own_is_refused(tmp_path):
    (tmp_path / "<y>{x}.npz").touch()
    config = WITHOUT | {"datasets": {"simulated": {}, "mine": {"source": "quark_gluon", "files": ["*.npz"]}}}
    done = snakemake(tmp_path, config, "--dry-run")
    assert done.returncode != 0
    assert "configuration: datasets.mine.files: '<y>{x}.npz' " in done.stdout + done.stderr
