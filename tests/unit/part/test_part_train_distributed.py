"""Training in two processes: the same curve as in one, and a kill -9 that costs nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from small_files import write_jets
from small_part import SMALL
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from softjet.config.part import ParTRun, Training
from softjet.errors import InputError
from softjet.part import distributed
from softjet.part.distributed import Task, train_files
from softjet.part.model import ParticleTransformer
from softjet.part.native_training import CompiledTraining

STEPS = 40
SETTINGS = Training(
    steps=STEPS,
    batch_size=18,
    learning_rate=0.01,
    optimiser="ranger",
    precision="float32",
    validate_every=20,
    save_every=1e-6,
    seed=4,
)
MODEL = SMALL.model_copy(update={"classes": 10, "dropout": 0.1})
LAUNCH = """
import logging, sys
from softjet.errors import InputError
from softjet.part.distributed import Task, train_files
task = Task.model_validate_json(open(sys.argv[1]).read())
logging.basicConfig(format="%(message)s", level="INFO", handlers=[logging.FileHandler(sys.argv[2], mode="w")])
logging.info("begin")
try:
    train_files(task)
except InputError as error:
    logging.error("%s", error)
    sys.exit(3)
logging.info("end")
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jets")
    return {
        "training": (write_jets(folder / "train.parquet", 200),),
        "validation": (write_jets(folder / "validation.parquet", 51, seed=1),),
    }


def task_of(folder, files, model=MODEL, **settings):
    run = ParTRun(model=model, training=SETTINGS.model_copy(update={"blocks": "pytorch", **settings}))
    return Task(run=run, folder=str(folder / "out"), state=str(folder / "state"), **files)


def launch(folder, task):
    folder.mkdir(exist_ok=True)
    (folder / "given.json").write_text(task.model_dump_json())
    command = [sys.executable, "-c", LAUNCH, str(folder / "given.json"), str(folder / "log")]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def finish(process, timeout=120):
    _, errors = process.communicate(timeout=timeout)
    return process.returncode, errors


def workers(folder):
    """Processes that torchrun started for a task."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if str(folder / "state/task.json") in words:
            found.append(int(place.name))
    return found


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def saved_step(folder):
    return torch.load(folder / "state/state.pt", weights_only=True)["step"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, files):
    """One process, four microbatches."""
    folder = tmp_path_factory.mktemp("alone")
    return train_files(task_of(folder, files, microbatches=4)), load_file(folder / "out/model.safetensors")


@pytest.fixture(scope="module")
def together(tmp_path_factory, files):
    """Two processes, two microbatches each."""
    folder = tmp_path_factory.mktemp("together")
    task = task_of(folder, files, processes=2, microbatches=2)
    assert finish(launch(folder, task))[0] == 0, (folder / "log").read_text()
    return folder


def test_two_processes_have_the_curve_of_one(alone, together):
    history, weights = alone
    theirs = pd.read_parquet(together / "out/history.parquet")
    columns = ["step", "loss", "lr", "validation_loss", "validation_accuracy"]
    pd.testing.assert_frame_equal(theirs[columns], history[columns], rtol=0, atol=1e-4)
    assert history["loss"].tail(5).mean() < 0.8 * history["loss"].head(5).mean()
    for name, weight in load_file(together / "out/model.safetensors").items():
        torch.testing.assert_close(weight, weights[name], rtol=0, atol=1e-3, msg=name)


def test_two_processes_with_compiled_blocks_have_the_curve_of_one(tmp_path, files):
    shape = MODEL.model_copy(update={"dropout": 0.0, "embed_dims": (64,), "heads": 4})
    try:
        CompiledTraining(ParticleTransformer(shape), bfloat16=False)
    except InputError as error:
        pytest.skip(str(error))
    given = {"model": shape, "blocks": "compiled", "steps": 8}
    alone = train_files(task_of(tmp_path / "alone", files, microbatches=2, **given))
    assert finish(launch(tmp_path, task_of(tmp_path, files, processes=2, **given)))[0] == 0
    theirs = pd.read_parquet(tmp_path / "out/history.parquet")
    assert "blocks compiled for the processor, float32" in (tmp_path / "log").read_text()
    np.testing.assert_allclose(theirs["loss"], alone["loss"], rtol=0, atol=1e-4)


def test_log_holds_the_lines_of_all_in_order(together):
    lines = (together / "log").read_text().splitlines()
    assert lines[0] == "begin"
    assert "train: 40 steps to do" in lines[1]
    assert "train: 40 of 40 steps" in lines[-2]
    assert lines[-1] == "end"


def test_killed_processes_go_on_to_the_same_weights(tmp_path, files, together):
    task = task_of(tmp_path, files, processes=2, microbatches=2)
    process = launch(tmp_path, task)
    wait_for((tmp_path / "state/state.pt").exists)
    os.kill(workers(tmp_path)[-1], signal.SIGKILL)
    code, _ = finish(process)
    assert code == 3
    said = (tmp_path / "log").read_text().splitlines()[-1]
    assert said.startswith("training: process ")
    assert said.endswith("goes on from the last saved state")
    first = saved_step(tmp_path)
    assert 0 < first < STEPS
    assert not workers(tmp_path)

    process = launch(tmp_path, task)
    wait_for(lambda: saved_step(tmp_path) > first)
    process.kill()
    process.communicate()
    wait_for(lambda: not workers(tmp_path))
    assert saved_step(tmp_path) < STEPS
    assert not (tmp_path / "out").exists()

    assert finish(launch(tmp_path, task))[0] == 0
    weights = load_file(together / "out/model.safetensors")
    resumed = load_file(tmp_path / "out/model.safetensors")
    assert all(torch.equal(resumed[name], weight) for name, weight in weights.items())


def test_users_mistake_in_a_process_is_told_by_the_one_that_started_it(tmp_path, files, monkeypatch):
    task = task_of(tmp_path, files).model_copy(update={"validation": (str(tmp_path / "none.parquet"),)})
    (tmp_path / "task.json").write_text(task.model_dump_json())
    for name in ("_join", "_log_to", "_end_with_parent"):
        monkeypatch.setattr(distributed, name, lambda *arguments: None)
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "task.json")])
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(SystemExit) as ended:
        distributed.main()
    assert ended.value.code == 1
    said = distributed._explained(
        ChildFailedError("worker", {0: ProcessFailure(0, 1, 1, "")}), tmp_path / "state/failure.json"
    )
    assert str(said).startswith(f"{tmp_path}/none.parquet: ")
