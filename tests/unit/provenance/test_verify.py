import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import write_run, write_step

from softjet.errors import InputError
from softjet.provenance.files import sha256
from softjet.provenance.verify import main, verify

TABLE, FIGURE = "results/jets/train.parquet", "results/figures/a b.png"
FIRST = "results/figures/a b.pdf"


def made_again(name):
    """Other bytes, with a sidecar of their own."""
    path, sidecar = Path(name), Path(f"{name}.meta.json")
    path.write_text("other")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"sha256": sha256(path)}))


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    write_run()
    return place


def test_a_run_as_it_was_left_matches():
    found = verify("results")
    assert found.problems == []
    assert (found.artefacts, found.inputs) == (4, 4)


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (
            lambda: Path(TABLE).write_text("other"),
            [
                f"{TABLE}: changed since it was made",
                f"{TABLE}: changed since {FIRST} and 1 more was made from it",
            ],
        ),
        (
            lambda: Path("results/figures/a b.pdf").write_text(""),
            ["results/figures/a b.pdf: changed since it was made"],
        ),
        (lambda: Path("mine.h5").write_text("jet"), [f"mine.h5: changed since {TABLE} was made from it"]),
        (lambda: Path("mine.h5").unlink(), [f"mine.h5: missing, and {TABLE} was made from it"]),
        (
            lambda: Path("results/report.html").unlink(),
            ["results/report.html: missing: only its sidecar is there"],
        ),
        (
            lambda: Path("results/new.parquet").write_text(""),
            ["results/new.parquet: without sidecar: no rule is known to have made it"],
        ),
        (
            lambda: Path("results/.partial-1-x.parquet").write_text(""),
            ["results/.partial-1-x.parquet: without sidecar: no rule is known to have made it"],
        ),
        (
            lambda: made_again(TABLE),
            [f"{TABLE}: changed since {FIRST} and 1 more was made from it"],
        ),
        (
            lambda: Path("resources/simulated.root").write_text("other"),
            [f"resources/simulated.root: changed since {TABLE} was made from it"],
        ),
        (
            lambda: Path("resources/simulated.root.meta.json").unlink(),
            [f"resources/simulated.root: missing, and {TABLE} was made from it"],
        ),
    ],
)
def test_what_does_not_match_is_said_in_a_line_each(change, lines, capsys):
    change()
    assert verify("results").problems == lines
    assert main("results") == 1
    assert capsys.readouterr().out.splitlines()[:-1] == lines


def test_a_file_that_was_put_elsewhere_is_found():
    for suffix in ("", ".meta.json"):
        Path(FIGURE + suffix).rename("results/figures/b.png" + suffix)
    assert verify("results").problems == [
        f"results/figures/b.png: moved: it was made as {FIGURE}",
        f"{FIGURE}: missing, and results/report.html was made from it",
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sha256": 3}', "{}"])
def test_a_broken_sidecar_is_a_line(text):
    Path(FIGURE + ".meta.json").write_text(text)
    (line,) = verify("results").problems
    assert line.startswith(f"{Path(FIGURE).absolute()}.meta.json: ")


def test_a_sidecar_of_the_right_digest_alone_excuses_a_missing_input():
    path = Path("resources/simulated.root.meta.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": "0"}))
    assert verify("results").problems == [f"resources/simulated.root: missing, and {TABLE} was made from it"]


def test_a_moved_folder_matches_wherever_it_is_looked_at_from(run, tmp_path, monkeypatch):
    moved = tmp_path / "there"
    run.rename(moved)
    monkeypatch.chdir(tmp_path)
    assert verify("there/results").problems == []
    (moved / "mine.h5").write_text("other")
    assert verify(moved / "results").problems == [
        f"there/mine.h5: changed since there/{TABLE} was made from it"
    ]


def test_results_of_another_name_are_compared_with_the_inputs_here():
    Path("results").rename("old")
    assert verify("old").problems == []
    Path("old/jets/train.parquet").write_text("other")
    assert [line.partition(":")[0] for line in verify("old").problems] == ["old/jets/train.parquet"] * 2


def test_results_at_an_absolute_path_can_be_moved(tmp_path, monkeypatch):
    import small_run

    scratch = tmp_path / "scratch" / "results"
    steps = {
        rule: tuple([p.replace("results", str(scratch)) for p in paths] for paths in step)
        for rule, step in small_run.STEPS.items()
    }
    monkeypatch.setattr(small_run, "STEPS", steps)
    shutil.rmtree("results")
    for rule in ("simulate", "convert", "draw", "report"):
        write_step(rule)
    scratch.rename(tmp_path / "elsewhere")
    assert verify(tmp_path / "elsewhere").problems == []


def test_every_file_is_read_once(monkeypatch):
    from softjet.provenance import verify as module

    read = []
    digest = module.sha256
    monkeypatch.setattr(module, "sha256", lambda path: read.append(path) or digest(path))
    verify("results")
    assert len(read) == len(set(read)) == 5


def test_the_command_says_how_much_was_compared(run):
    environment = os.environ | {"PYTHONPATH": str(Path(main.__code__.co_filename).parents[2])}
    command = [sys.executable, "-m", "softjet.provenance.verify", "results"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "results: 4 artefacts and the 4 files that they were made from: nothing amiss\n"
    done = subprocess.run(command[:-1], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr == "give the folder of results, as in: python -m softjet.provenance.verify results\n"


def test_no_results_are_one_line(capsys):
    with pytest.raises(InputError, match="nowhere: folder: holds no results"):
        verify("nowhere")
    assert main("nowhere") == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
