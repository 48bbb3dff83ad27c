"""Whatever ends a workflow or a job, the next run goes on, and its tables are those of an unbroken run."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pandas as pd
import pytest
import uproot
import yaml
from running import artefacts, ended, plan, snakemake, start

from softjet.jets.schema import TREE
from softjet.provenance.files import sha256

pytestmark = pytest.mark.workflow

QCD = "resources/simulated/simulated/QCD_0.root"
COUNTS = "results/jets/tiny/counts.parquet"
TRAINED = "results/part/tiny/history.parquet"
ATTENTION = "results/attention/tiny/tiny/jets.parquet"
COMPRESSED = "results/lowrank/tiny/soft-threshold-0.5-1/history.parquet"
TUNED = "results/language/gpt2/history.parquet"
TARGETS = (QCD, TRAINED, ATTENTION, COMPRESSED)
NO_LANGUAGE = {"tasks": None, "language": None}


def configured(files):
    """A network of one small block, which saves its state at every step."""
    model = {"embed_dims": [16, 16], "pair_embed_dims": [8], "heads": 2, "blocks": 1, "class_blocks": 1}
    training = {"steps": 6, "epochs": None, "batch_size": 16, "save_every": 0.000001, "checkpoints": [0.5]}
    learning = {
        "learn_steps": 20,
        "recover_steps": 4,
        "batch_size": 16,
        "threshold_rate": 0.3,
        "rank_floor": 1,
    }
    grid = {"methods": ["soft-threshold"], "keeps": [0.5], "seeds": [1]}
    nulls = dict.fromkeys(("bert", "gpt2", "tinyllama", "mamba", "part"))
    learning["save_every"] = 0.000001
    return NO_LANGUAGE | {
        "datasets": {
            "simulated": {"simulation": {"jets_per_class": 4}},
            "tiny": {
                "source": "jetclass",
                "files": list(map(str, files)),
                "fractions": {"train": 0.6, "test": 0.3},
            },
        },
        "part": {"reference": None, "tiny": {"dataset": "tiny", "model": model, "training": training}},
        "attention": {"jets": 20, "maps": 10, "batch_size": 16},
        "compress": nulls | {"tiny": {"base": "tiny", "learning": learning, "grids": [grid]}},
    }


@pytest.fixture(scope="module")
def settings(tmp_path_factory, finished):
    jets = finished / "resources" / "simulated" / "simulated"
    files = [jets / f"{name}_0.root" for name in ("QCD", "Hbb", "Zqq")]
    path = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    path.write_text(yaml.safe_dump(configured(files)))
    return path


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, settings):
    folder = tmp_path_factory.mktemp("unbroken")
    done = snakemake(folder, *TARGETS, config=settings)
    assert done.returncode == 0, done.stderr[-6000:]
    return folder


def content(folder):
    """Content of all results by path."""
    paths = [*artefacts(folder), *folder.glob("resources/**/*.root")]
    return {str(path.relative_to(folder)): content_of(path) for path in paths}


def content_of(path):
    """Digest of a file; of tables all but the columns of times, of ROOT files the jets."""
    if path.suffix == ".root":
        return uproot.open(path)[TREE].arrays().to_list()
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        return table.drop(columns=[name for name in table if name.endswith("_per_second")]).to_json()
    return sha256(path)


def same(folder, whole):
    """Whether two folders have the same results; the report tells when its steps were made."""
    found, wanted = content(folder), content(whole)
    return {**found, "results/report.html": ""} == {
        **wanted,
        "results/report.html": "",
    } and found.keys() == wanted.keys()


def harmed(folder, rules):
    """Variable that tells the jobs what becomes of them; `rules` as tests/workflow/hooks says."""
    marks = folder / "marks"
    marks.mkdir(exist_ok=True)
    return {"HARM": json.dumps({"marks": str(marks), "rules": rules})}


def last_words(said):
    return [line for line in said.splitlines() if line.startswith("softjet: ")]


def only_words(done):
    """The one line that a workflow which failed ends with."""
    assert done.returncode != 0
    (said,) = last_words(done.stderr)
    return said


def test_jobs_killed_in_every_stage_and_the_workflow_killed_in_training(tmp_path, settings, unbroken):
    rules = {"simulate": ("kill", 1), "convert_tiny": ("kill", 1), "train_part": ("kill all", 4)}
    rules |= {"record_attention": ("kill", 1), "learn_ranks_part": ("kill", 4)}
    first = start(tmp_path, "--retries", "1", *TARGETS, config=settings, **harmed(tmp_path, rules))
    assert ended(*first)[0] == -signal.SIGKILL
    assert {path.name for path in (tmp_path / "marks").iterdir()} == {
        "simulate",
        "convert_tiny",
        "train_part",
    }
    locked = snakemake(tmp_path, *TARGETS, config=settings)
    assert locked.returncode != 0
    assert "--unlock" in locked.stderr
    assert snakemake(tmp_path, "--unlock", config=settings).returncode == 0
    second = snakemake(tmp_path, *TARGETS, config=settings, **harmed(tmp_path, rules))
    assert second.returncode != 0
    said = last_words(second.stderr)
    assert len(said) == 2
    assert all("was killed" in line and "run again" in line for line in said)
    assert re.search(r"train: [1-5] steps to do", second.stderr)
    third = snakemake(tmp_path, *TARGETS, config=settings)
    assert third.returncode == 0, third.stderr[-6000:]
    assert content(tmp_path) == content(unbroken)
    assert not list(tmp_path.rglob(".partial-*"))


def without(folder, *rules, beneath=""):
    """Remove what these rules made."""
    for path in folder.rglob("*.meta.json"):
        if json.loads(path.read_text())["rule"] in rules and beneath in str(path):
            path.with_name(path.name.removesuffix(".meta.json")).unlink()
            path.unlink()


def test_jobs_killed_in_language_tuning_and_in_the_report(tmp_path, finished_language):
    folder = tmp_path / "language"
    shutil.copytree(finished_language, folder)
    without(folder, "tune_language", beneath="gpt2")
    without(folder, "report")
    for rule, count, target in (("tune_language", 4, TUNED), ("report", 1, "results/report.html")):
        killed = harmed(folder, {rule: ("kill", count)})
        done = snakemake(folder, "--retries", "1", target, config=folder / "mine.yaml", **killed)
        assert done.returncode == 0, done.stderr[-3000:]
        assert (folder / "marks" / rule).exists()
    assert same(folder, finished_language)
    assert not list(folder.rglob(".partial-*"))


STAGES = {
    "simulate": (QCD, 1),
    "convert_tiny": ("results/jets/tiny/counts.parquet", 1),
    "train_part": (TRAINED, 4),
    "record_attention": (ATTENTION, 1),
    "learn_ranks_part": (COMPRESSED, 4),
    "tune_language": (TUNED, 4),
    "learn_ranks_language": ("results/lowrank/gpt2/soft-threshold-0.5-1/history.parquet", 4),
    "report": ("results/report.html", 1),
}
"""A result of each stage, and at which file that is written it is struck."""


@pytest.mark.long
@pytest.mark.parametrize("how", ["kill", "kill all", "starve"])
@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_struck_in_each_way(tmp_path, settings, unbroken, finished_language, stage, how):
    in_language = stage in ("tune_language", "learn_ranks_language", "report")
    whole, config = (
        (finished_language, finished_language / "mine.yaml") if in_language else (unbroken, settings)
    )
    folder = tmp_path / "struck"
    shutil.copytree(whole, folder)
    target, count = STAGES[stage]
    without(folder, stage, beneath="gpt2" if in_language and stage != "report" else "")
    struck = start(
        folder, target, config=config, **harmed(folder, {stage: (how, 1 if how == "starve" else count)})
    )
    status, said = ended(*struck)
    assert status == (-signal.SIGKILL if how == "kill all" else 1)
    if how == "kill all":
        assert snakemake(folder, "--unlock", config=config).returncode == 0
    else:
        assert len(last_words(said)) == 1
    done = snakemake(folder, target, config=config)
    assert done.returncode == 0, done.stderr[-3000:]
    assert same(folder, whole)
    assert not list(folder.rglob(".partial-*"))


def test_jobs_that_outlive_their_workflow_do_not_write_over_what_the_next_one_makes(tmp_path, settings):
    orphaned = start(tmp_path, QCD, config=settings, **harmed(tmp_path, {"simulate": ("orphan", 1)}))
    assert ended(*orphaned)[0] == -signal.SIGKILL
    assert snakemake(tmp_path, "--unlock", config=settings).returncode == 0
    other = tmp_path / "other.yaml"
    other.write_text(settings.read_text().replace("jets_per_class: 4", "jets_per_class: 5"))
    second, said = start(tmp_path, QCD, config=other)
    log = tmp_path / "logs" / "simulate" / "simulated" / "QCD_0.log"
    waiting, end = "another process makes the same result; wait until it ends", time.monotonic() + 300
    while time.monotonic() < end and not (log.exists() and waiting in log.read_text()):
        time.sleep(0.1)
    (tmp_path / "marks" / "go").touch()
    status, words = ended(second, said)
    assert status == 0
    assert waiting in words
    assert len(content_of(tmp_path / QCD)) == 5


def test_two_workflows_started_at_once_do_not_meet(tmp_path, settings, unbroken):
    both = [start(tmp_path, QCD, config=settings) for _ in range(2)]
    codes, said = zip(*(ended(*workflow) for workflow in both), strict=True)
    # Either is refused, or comes when the other has finished.
    assert 0 in codes
    for code, words in zip(codes, said, strict=True):
        assert code == 0 or "another workflow is under way" in words or "cannot be locked" in words, words
    assert content_of(tmp_path / QCD) == content_of(unbroken / QCD)
    assert "Nothing to be done" in plan(tmp_path, QCD, config=settings).said


def test_a_folder_that_another_workflow_holds_is_left_alone(tmp_path, settings):
    (tmp_path / ".snakemake").mkdir()
    handle = os.open(tmp_path / ".snakemake", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    done = snakemake(tmp_path, QCD, config=settings)
    os.close(handle)
    assert done.returncode != 0
    assert "another workflow is under way" in done.stderr
    assert not (tmp_path / "logs").exists()


def test_a_job_without_memory_says_so_and_leaves_nothing(tmp_path, settings, unbroken):
    hungry = harmed(tmp_path, {"convert_tiny": ("starve", 1)})
    said = only_words(snakemake(tmp_path, COUNTS, config=settings, **hungry))
    assert "memory" in said
    assert "run again" in said
    assert not artefacts(tmp_path)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one MiB."""
    if os.geteuid():
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_named_and_the_next_run_with_space_finishes(tmp_path, small_disk, settings, unbroken):
    values = yaml.safe_load(settings.read_text()) | {"paths": {"results": str(small_disk / "results")}}
    full = tmp_path / "full.yaml"
    full.write_text(yaml.safe_dump(values))
    (small_disk / "other").write_bytes(bytes(1_000_000))
    target = str(small_disk / COUNTS)
    said = only_words(snakemake(tmp_path, target, config=full))
    assert "the disk is full" in said
    assert "free some space and run again" in said
    assert not artefacts(small_disk)
    (small_disk / "other").unlink()
    assert snakemake(tmp_path, target, config=full).returncode == 0
    assert content(small_disk) == {
        k: v for k, v in content(unbroken).items() if k.startswith("results/jets/")
    }
