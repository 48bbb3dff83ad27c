"""The whole small configuration on a real Slurm of one node; a training of two processes is killed once.

`make test-slurm` installs Slurm and runs this.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from softjet.provenance.verify import verify

ROOT = Path(__file__).parents[2]
SLURM = Path(__file__).with_name("slurm.sh")
STEPS = 150
THREADS = min(2, os.cpu_count() or 1)
RUN = "results/part/reference"
CONFIG = {
    "part": {"reference": {"training": {"epochs": None, "steps": STEPS, "processes": 2, "save_every": 0.1}}}
}
# The sandbox has no accounting, and a test has no patience.
SANDBOX = ["--slurm-no-account", "--slurm-status-command", "squeue"]
SANDBOX += ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Environment of Slurm's commands."""
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SLURM, "start", folder], check=True, timeout=120)
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    yield os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    subprocess.run([SLURM, "stop", folder], check=True, timeout=60)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("on a cluster")
    (folder / "mine.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


def snakemake(work, *arguments):
    configs = [ROOT / "config" / "config.yaml", ROOT / "config" / "test" / "small.yaml", work / "mine.yaml"]
    command = [Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"]
    command += [
        "--directory",
        work,
        "--workflow-profile",
        ROOT / "profiles" / "slurm",
        "--max-threads",
        THREADS,
    ]
    command += [*SANDBOX, "--configfile", *configs, *arguments]
    return list(map(str, command))


def kill_training(environment):
    """Kill the job of the training, as the kernel does when memory runs out."""
    jobs = subprocess.run(
        ["squeue", "--noheader", "--format", "%i %k"], env=environment, capture_output=True, text=True
    ).stdout
    (number,) = re.findall(r"^(\d+) rule_train_part", jobs, re.M)
    subprocess.run(["scancel", "--full", "--signal", "KILL", number], env=environment, check=True)


@pytest.fixture(scope="module")
def finished(work, environment):
    """What Snakemake said of a run whose training was killed once."""
    with (work / "said.log").open("w") as said:
        running = subprocess.Popen(snakemake(work), stdout=said, stderr=said, env=environment)
        try:
            deadline = time.monotonic() + 600
            while not list(work.glob(".state/train_part/*/state.pt")):
                assert running.poll() is None, (work / "said.log").read_text()[-6000:]
                assert time.monotonic() < deadline, (work / "said.log").read_text()[-6000:]
                time.sleep(0.2)
            kill_training(environment)
            code = running.wait(timeout=600)
        finally:
            running.kill()
    text = (work / "said.log").read_text()
    assert code == 0, text[-6000:]
    return text


def test_a_killed_training_is_retried_and_goes_on(finished, work):
    assert finished.count("Trying to restart job") == 1
    (left,) = re.findall(r"train: (\d+) steps to do", (work / "logs/train_part/reference.log").read_text())
    assert 0 < int(left) < STEPS
    history = pd.read_parquet(work / RUN / "history.parquet")
    assert list(history.step) == list(range(1, STEPS + 1))
    assert history.loss.notna().all()


def test_jobs_have_the_threads_of_the_profile(finished, work):
    facts = json.loads((work / RUN / "metrics.parquet.meta.json").read_text())
    assert facts["threads"] == THREADS


def test_what_is_made_belongs_together_and_what_is_temporary_is_gone(finished, work, monkeypatch):
    monkeypatch.chdir(work)
    assert verify("results").problems == []
    assert (work / "results/report.html").exists()
    assert not list(work.glob("resources/simulated/*/*.root"))


def test_nothing_is_left_to_do(finished, work, environment):
    again = subprocess.run(
        snakemake(work, "--dry-run"), capture_output=True, text=True, timeout=60, env=environment
    )
    assert "Nothing to be done" in again.stdout + again.stderr
