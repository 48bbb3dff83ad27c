"""What changes no result makes nothing run again; a new model makes its own results and the report."""

import os
import shutil

import pytest
import yaml
from running import SMALL, clone, plan

pytestmark = pytest.mark.workflow

NOTHING = "Nothing to be done"


def test_touching_any_file_and_a_fresh_clone_rerun_nothing(tmp_path, finished):
    root, now = clone(tmp_path / "clone"), 2_000_000_000
    moved = tmp_path / "moved"
    shutil.copytree(finished, moved)
    assert NOTHING in plan(moved, root=root).said
    # Every file that a step reads becomes newer than all that was made from it.
    results = sorted(moved.glob("res*/**/*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for place, path in enumerate([*results, *root.rglob("*")]):
        os.utime(path, (now + place, now + place))
    assert NOTHING in plan(moved, root=root).said


def test_results_without_the_records_of_how_they_were_made_are_not_taken_for_up_to_date(tmp_path, finished):
    shutil.copytree(finished / "results", tmp_path / "results")
    found = plan(tmp_path)
    assert not found.jobs
    assert "has results, but .snakemake/, which says how they were made, is not beside it" in found.said
    assert NOTHING not in found.said


def test_comments_rerun_nothing(tmp_path, finished):
    root = clone(tmp_path)
    for name in ("config/config.yaml", "config/test/small.yaml", "requirements.txt"):
        lines = (root / name).read_text().splitlines()
        (root / name).write_text("# why\n" + "\n\n".join(f"{line}  # so" for line in lines) + "\n")
    assert NOTHING in plan(finished, config=root / "config" / "test" / "small.yaml", root=root).said


def test_a_new_model_makes_its_own_results_and_the_report(tmp_path, finished):
    values = yaml.safe_load(SMALL.read_text())
    values["part"]["newcomer"] = values["part"]["reference"]
    values["compress"]["smaller"] = {"base": "newcomer", "learning": values["compress"]["part"]["learning"]}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(values))
    found = plan(finished, config=tmp_path / "two.yaml")
    told = {"report", "write_crate"}
    assert found.changed <= told
    assert found.jobs["train_part"] == found.jobs["evaluate_part"] == found.jobs["report"] == 1
    assert found.jobs["tune_topk"] == 2
    made = {rule for reason, rules in found.reasons.items() if "output" in reason for rule in rules}
    assert made >= found.rules - told
    assert not {"simulate", "convert_simulated", "draw_jets"} & found.rules
