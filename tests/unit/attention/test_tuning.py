"""Fine-tuning with top-k attention, also killed (SIGKILL) in the middle."""

import os
import signal
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import softjet.attention.tuning as tuning_module
from softjet.attention.topk import with_top_k
from softjet.attention.tuning import fine_tune
from softjet.config.part import Training
from softjet.errors import InputError
from softjet.part.model import ParticleTransformer

SETTINGS = Training(steps=9, batch_size=8, learning_rate=0.01, optimiser="ranger", save_every=1e-6, seed=3)
KILLED = 5
"""Which call of the function is the last."""


@pytest.fixture
def inputs(jets_of):
    return jets_of(np.random.default_rng(2).integers(2, 10, 60), 9)[0]


@pytest.fixture
def loader(inputs):
    def training(start_step=0, share=(0, 1)):
        for step in count(start_step):
            rows = torch.arange(8) + 5 * (step % 10)
            yield SimpleNamespace(
                features=inputs[0][rows], vectors=inputs[1][rows], mask=inputs[2][rows], labels=rows % 10
            )

    return SimpleNamespace(training=training)


@pytest.fixture
def dropping(model):
    """The small network with dropout, whose random numbers a resume must meet again."""
    network = ParticleTransformer(model.config.model_copy(update={"dropout": 0.2}))
    network.load_state_dict(model.state_dict())
    return network


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_fine_tuning_learns_with_few_weights(model, loader, tmp_path):
    run = Training(steps=25, batch_size=8, learning_rate=0.01)
    history = fine_tune(model, loader, run, 1, tmp_path)
    assert list(history.step) == list(range(1, 26))
    assert history.loss[-5:].mean() < 0.9 * history.loss[:5].mean()
    assert not model.training
    assert all(block.attention.edit is None for block in model.blocks)


def test_fine_tuning_is_of_the_cut_network(model, loader, tmp_path):
    run = Training(steps=1, batch_size=8)
    first = next(loader.training())
    with with_top_k(model, 1), torch.no_grad():
        model.train()
        logits = model(first.features, first.vectors, first.mask)
        expected = torch.nn.functional.cross_entropy(logits, first.labels).item()
    assert fine_tune(model, loader, run, 1, tmp_path).loss[0] == pytest.approx(expected, rel=1e-2)


def test_fine_tuning_twice_gives_the_same_weights(dropping, loader, tmp_path):
    start, ends = weights_of(dropping), []
    for place in range(2):
        dropping.load_state_dict(start)
        torch.manual_seed(place)
        fine_tune(dropping, loader, Training(steps=3, batch_size=8), 2, tmp_path / f"{place}")
        ends.append(torch.cat([parameter.detach().flatten() for parameter in dropping.parameters()]))
    assert torch.equal(*ends)


def test_a_loss_that_is_not_finite_stops_the_tuning(model, loader, tmp_path):
    with torch.no_grad():
        model.head.bias.fill_(torch.nan)
    with pytest.raises(InputError, match="learning_rate"):
        fine_tune(model, loader, Training(steps=1, batch_size=8), 1, tmp_path)


def test_a_state_that_cannot_be_read_is_said_in_one_line(model, loader, tmp_path):
    (tmp_path / "state.pt").write_bytes(b"half")
    with pytest.raises(InputError, match=r"state\.pt: state: cannot be read"):
        fine_tune(model, loader, SETTINGS, 1, tmp_path)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(state, path):
    whole = Path(path).with_name("whole")
    SAVE(state, whole)
    Path(path).write_bytes(whole.read_bytes()[:5000])
    die()


SAVE, REPLACE = torch.save, Path.replace
POINTS = {
    "in the middle of a step": (tuning_module.nn.utils, "clip_grad_norm_", lambda *given: die(), KILLED),
    "in the middle of saving": (torch, "save", half_written, KILLED),
    "after the last step is saved": (
        Path,
        "replace",
        lambda *given: (REPLACE(*given), die()),
        SETTINGS.steps,
    ),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_fine_tuning_goes_on_to_the_same_weights(dropping, loader, tmp_path, monkeypatch, point):
    start = weights_of(dropping)
    unbroken = fine_tune(dropping, loader, SETTINGS, 2, tmp_path / "unbroken")
    expected = weights_of(dropping)
    dropping.load_state_dict(start)
    owner, name, action, last = POINTS[point]
    usual, calls = getattr(owner, name), iter(range(1, 1000))

    def counting(*given, **named):
        return (action if next(calls) >= last else usual)(*given, **named)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(owner, name, counting)
        fine_tune(dropping, loader, SETTINGS, 2, tmp_path / "killed")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    torch.manual_seed(99)
    steps = []
    monkeypatch.setattr(
        loader, "training", lambda start, usual=loader.training: steps.append(start) or usual(start)
    )
    history = fine_tune(dropping, loader, SETTINGS, 2, tmp_path / "killed")
    pd.testing.assert_frame_equal(history, unbroken, check_exact=True)
    assert all(torch.equal(value, expected[name]) for name, value in weights_of(dropping).items())
    assert steps == [SETTINGS.steps if last == SETTINGS.steps else KILLED - 1]
