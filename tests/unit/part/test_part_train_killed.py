"""A training that is killed (SIGKILL) anywhere goes on to the same weights, bit for bit."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from small_part import SMALL, Jets

import softjet.part.train as train_module
from softjet.config.part import ParTRun, Training
from softjet.part.train import train_part

SETTINGS = Training(
    steps=17,
    batch_size=16,
    learning_rate=0.01,
    optimiser="ranger",
    microbatches=2,
    save_every=1e-6,
    seed=4,
    checkpoints=(0.2, 0.6),
)
RUN = ParTRun(model=SMALL.model_copy(update={"dropout": 0.1}), training=SETTINGS)
KILLED = 6
"""Which call of the function is the last; 6 steps are one round of Lookahead."""


def train(folder):
    return train_part(RUN, Jets(64), Jets(32, seed=1), folder / "out", folder / "state")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return train(folder), weights_of(folder)


def weights_of(folder):
    """Final weights and those kept on the way."""
    return load_file(folder / "out/model.safetensors") | load_file(folder / "out/checkpoints.safetensors")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(state, path):
    whole = Path(path).with_name("whole")
    SAVE(state, whole)
    Path(path).write_bytes(whole.read_bytes()[:5000])
    die()


SAVE, REPLACE = torch.save, Path.replace
POINTS = {
    "in the middle of a step": (train_module.nn.utils, "clip_grad_norm_", lambda *given: die(), KILLED),
    "between two pieces": (train_module.RunningAverages, "end_piece", lambda *given: die(), 2 * KILLED),
    "in the middle of saving": (torch, "save", half_written, KILLED),
    "before the new state takes the old one's place": (Path, "replace", lambda *given: die(), KILLED),
    "after it did": (Path, "replace", lambda *given: (REPLACE(*given), die()), KILLED),
    "after the model is written": (train_module, "write_tables", lambda *given: die(), 1),
    "before the state is removed": (
        Path,
        "unlink",
        lambda path, **given: path.name == "state.pt" and die(),
        1,
    ),
}


@pytest.fixture
def killed(tmp_path):
    """Train in a child process that kills itself at a call of a function; give the folder."""

    def run(owner, name, action, last):
        usual, calls = getattr(owner, name), iter(range(1, 1_000_000))

        def counting(*given, **named):
            return (action if next(calls) >= last else usual)(*given, **named)

        child = os.fork()
        if child == 0:
            setattr(owner, name, counting)
            train(tmp_path)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        return tmp_path

    return run


@pytest.mark.parametrize("point", POINTS)
def test_killed_training_goes_on_to_the_same_weights(killed, unbroken, point):
    folder = killed(*POINTS[point])
    torch.manual_seed(99)
    history = train(folder)
    columns = ["step", "loss", "lr", "validation_loss", "validation_accuracy"]
    pd.testing.assert_frame_equal(history[columns], unbroken[0][columns], check_exact=True)
    resumed = weights_of(folder)
    assert resumed.keys() == unbroken[1].keys()
    assert all(torch.equal(resumed[name], weight) for name, weight in unbroken[1].items())
    assert not (folder / "state/state.pt").exists()


def test_killed_while_saving_leaves_the_state_before(killed):
    folder = killed(*POINTS["in the middle of saving"])
    assert torch.load(folder / "state/state.pt", weights_only=True)["step"] == KILLED - 1
