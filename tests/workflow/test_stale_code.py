"""Edits of code: exactly the rules that it stands behind run again. Each is a dry run of a clone."""

import json
from functools import cache
from pathlib import Path

import pytest
from running import ROOT, changed, clone, plan

from softjet.provenance.digests import files_behind

pytestmark = pytest.mark.workflow

LIBRARY = ROOT / "src" / "softjet"
EVERY = "every rule"
EDITS = {
    "src/softjet/jets/detector.py": {"simulate", "simulate_test"},
    "src/softjet/part/schedule.py": {"train_part", "tune_topk", "learn_ranks_part"},
    "src/softjet/attention/probes.py": {"statistics_observables", "statistics_compressed"},
    "src/softjet/figures/explorer.js": {"draw_explorer"},
    "src/softjet/language/tuning.py": set(),
    "src/softjet/errors.py": EVERY,
    "workflow/scripts/draw_jets.py": {"draw_jets"},
    "requirements.txt": EVERY,
}
"""Files, and the rules of the small configuration that they stand behind."""
MARKS = {".py": "#", ".js": "//", ".txt": "extra=="}


@pytest.fixture
def edited(tmp_path, finished):
    """Function from a file to the rules whose code or environment is another when it is edited."""
    root = clone(tmp_path)

    def edit(name):
        path = root / name
        path.write_text(f"{path.read_text()}\n{MARKS[path.suffix]} edited\n")
        return changed(finished, root=root)

    return edit


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_seen_by_exactly_the_rules_that_it_stands_behind(edited, finished, name):
    rules = {facts["rule"] for facts in sidecars(finished)} if EDITS[name] is EVERY else EDITS[name]
    assert edited(name) == rules


def sidecars(folder):
    return [json.loads(p.read_text()) for p in folder.rglob("*.meta.json")]


def test_what_follows_from_an_edited_rule_runs_again_and_nothing_else(tmp_path, finished):
    root = clone(tmp_path)
    path = root / "src" / "softjet" / "attention" / "probes.py"
    path.write_text(path.read_text() + "\n# edited\n")
    follows = {"draw_observables", "draw_compressed", "report", "write_crate"}
    found = plan(finished, root=root)
    assert found.rules == {"statistics_observables", "statistics_compressed", *follows}


def jobs_traced(traces):
    found = [json.loads(path.read_text()) for path in traces.iterdir()]
    assert len({job["script"] for job in found}) > 35
    return found


def test_the_digest_of_a_step_is_of_all_that_it_imported_and_of_all_data_that_it_read(
    traces, finished, finished_language
):
    known = cache(files_behind)
    for job in jobs_traced(traces):
        behind = known(ROOT / "workflow" / "scripts" / job["script"])
        opened = {Path(p) for p in job["opened"] if LIBRARY in Path(p).parents}
        data = {p for p in opened if p.is_file() and p.suffix not in {".py", ".pyc", ".nbi", ".nbc"}}
        assert {source_of(module) for module in job["modules"]} | data <= behind, job["script"]


def source_of(module):
    path = LIBRARY.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_no_step_reads_a_result_that_is_not_among_its_inputs(traces, finished, finished_language):
    for job in jobs_traced(traces):
        known = set(job["files"])
        found = results_of(job["opened"], finished) | results_of(job["opened"], finished_language)
        assert {path for path in found if not path.endswith(".meta.json")} <= known, job["script"]


def results_of(opened, folder):
    """Files among these that are results in a folder, as the workflow names them."""
    names = {path.removeprefix(f"{folder}/") for path in opened}
    return {
        name for name in names if name.startswith(("results/", "resources/")) and (folder / name).is_file()
    }
