"""What the Snakemake workflow catalogue, and whoever cites the project, looks for."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]
FILES = {"root": ROOT / "Snakefile", "shim": ROOT / "workflow" / "Snakefile"}
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def run(*command):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, env=ENVIRONMENT, cwd=ROOT
    )


def planned(file, folder):
    """Rules and how often each would run on the small configuration, without the target itself."""
    settings = ROOT / "config" / "config.yaml", ROOT / "config" / "test" / "small.yaml"
    done = run("snakemake", "-s", file, "-d", folder, "-n", "--cores", 1, "--configfile", *settings)
    assert done.returncode == 0, done.stderr[-3000:]
    table = (done.stdout + done.stderr).partition("Job stats:")[2].partition("total")[0]
    jobs = dict(line.split() for line in table.splitlines() if line[-1:].isdigit())
    return {rule: count for rule, count in jobs.items() if rule not in ("all", "everything")}


def test_the_shim_plans_what_the_workflow_does(tmp_path):
    plans = {name: planned(file, tmp_path / name) for name, file in FILES.items()}
    assert plans["shim"] == plans["root"]
    assert plans["shim"]["train_part"] == plans["shim"]["write_crate"] == "1"


def test_snakemake_finds_nothing_to_complain_of():
    done = run("snakemake", "-s", FILES["shim"], "--lint")  # it includes all the rest
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in a good condition" in done.stdout + done.stderr


def test_citation_is_valid_and_of_this_version():
    done = run("check-jsonschema", "--builtin-schema", "vendor.citation-file-format", "CITATION.cff")
    assert done.returncode == 0, done.stdout
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_the_catalogue_is_told_how_the_workflow_is_used():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["report"] is True
    assert "make run" in usage["mandatory-flags"]["desc"]
    for name in ("config/README.md", "LICENSE", "CHANGELOG.md"):
        assert (ROOT / name).read_text(), name


def test_every_caption_is_of_a_figure_or_a_page():
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    captions = [*(ROOT / "workflow" / "report").glob("*/*.rst")]
    assert len(captions) > 30
    for caption in captions:
        assert f'"{caption.stem}"' in rules, caption


def test_every_call_in_the_makefile_gives_the_cores_without_which_nothing_starts():
    calls = [line for line in (ROOT / "Makefile").read_text().splitlines() if "/snakemake" in line]
    assert len(calls) == 3
    assert all("--cores" in call for call in calls)
