"""The whole workflow on the small configuration, as a user starts it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from softjet.jets.schema import CLASSES
from softjet.provenance.files import sha256
from softjet.provenance.sidecar import SUFFIX

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "config" / "test" / "small.yaml"


def snakemake(folder, *arguments, config=SMALL):
    command = [Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", folder, "--cores", "2", "--workflow-profile", ROOT / "profiles" / "default"]
    command += ["--configfile", ROOT / "config" / "config.yaml", config, *arguments]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=900, env=environment
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain with a space")
    done = snakemake(folder)
    assert done.returncode == 0, done.stderr[-6000:]
    return folder


def artefacts(folder):
    results = folder / "results"
    return [p for p in sorted(results.rglob("*")) if p.is_file() and not p.name.endswith(SUFFIX)]


def test_chain_ends_in_a_report_that_stands_alone(finished):
    page = (finished / "results" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 8
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", page)
    for stage in (
        "Simulation",
        "Training",
        "Attention",
        "Fewer parameters",
        "Which physics goes first",
        "Speed",
    ):
        assert f"{stage}</h2>" in page, stage


def test_nothing_to_do_the_second_time(finished):
    again = snakemake(finished)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stderr


def test_every_artefact_has_a_true_sidecar(finished):
    found = artefacts(finished)
    assert len(found) > 25
    for artefact in found:
        facts = json.loads(Path(f"{artefact}{SUFFIX}").read_text())
        assert facts["sha256"] == sha256(artefact), artefact
        for path, digest in facts["inputs"].items():
            assert sha256(finished / path) == digest, f"{artefact}: {path}"


def test_no_half_written_file_and_no_state_is_left(finished):
    assert not list(finished.rglob(".partial-*"))
    assert not [p for p in (finished / ".state").rglob("*") if p.is_file()]


def test_every_simulated_jet_is_in_exactly_one_split(finished):
    tables = [pq.read_table(p) for p in (finished / "results" / "jets" / "simulated").glob("*_0.parquet")]
    assert len(tables) == 3
    places = [
        pair for t in tables for pair in zip(t["source"].to_pylist(), t["entry"].to_pylist(), strict=True)
    ]
    dataset = yaml.safe_load(SMALL.read_text())["datasets"]["simulated"]
    jets = dataset["simulation"]["jets_per_class"] * len(CLASSES) + dataset["test_background"]
    assert len(places) == len(set(places)) == jets


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("part: {reference: {training: {epoch: 1}}}", "part.reference.training.epoch"),
        ("datasets: {simulated: {simulation: {jets_per_class: 0}}}", "jets_per_class"),
    ],
)
def test_wrong_configuration_is_one_line_and_starts_nothing(tmp_path, text, field):
    config = tmp_path / "wrong.yaml"
    config.write_text(text)
    done = snakemake(tmp_path, config=config)
    assert done.returncode != 0
    assert field in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_truncated_root_file_is_named_and_leaves_nothing(tmp_path, finished):
    whole = (finished / "resources" / "simulated" / "simulated" / "QCD_0.root").read_bytes()
    (tmp_path / "cut.root").write_bytes(whole[: len(whole) // 2])
    config = tmp_path / "mine.yaml"
    config.write_text(
        "datasets: {simulated: null, mine: {source: jetclass, files: [cut.root]}}\n"
        "part: {reference: {dataset: mine}}\n"
        "tasks: null\nlanguage: null\ncompress: null\n"
    )
    done = snakemake(tmp_path, config=config)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("softjet: ")]
    assert len(lines) == 1
    assert "cut.root" in lines[0]
    assert not artefacts(tmp_path)
