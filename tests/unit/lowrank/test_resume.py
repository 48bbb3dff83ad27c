"""A run that is stopped at any point goes on and ends with the same bits, whatever the method."""

import copy
import itertools
import multiprocessing
import os
import random
import signal
from pathlib import Path

import pytest
import torch
from method_settings import METHODS, TOTAL, run, settings_of
from small_network import SELECTION, Network, batches, loss, network
from torch import nn

from softjet.lowrank import fuse, learn_ranks, parameter_counts


class InterruptionError(Exception):
    pass


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """A forked process must not wait for threads that only its parent has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=METHODS)
def whole(request, tmp_path_factory, one_thread):
    """A method and its run without interruption."""
    return request.param, *run(request.param, tmp_path_factory.mktemp("whole"))


def stopping_at(*stops):
    """Batches that end each run at the next of these steps."""
    left = list(stops)

    def stream(start):
        for step, batch in enumerate(batches(start), start):
            if left and step == left[0]:
                left.pop(0)
                raise InterruptionError
            yield batch

    return stream


def same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def last_of(history, phase):
    return int((history["phase"] == "learning").sum()) if phase == "learning" else TOTAL


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bits(tmp_path, whole):
    method, model, history, ranks = whole
    turn = last_of(history, "learning")
    random_steps = sorted(random.Random(method).sample(range(1, TOTAL), 3))
    stops = sorted({turn - 1, turn, turn + 1, *random_steps, TOTAL - 1} - {-1, 0})
    stream = stopping_at(*stops)
    for _ in stops:
        # Once there is a state, the weights come from it; whitening may be stopped before that.
        seed = 5 if (tmp_path / "ranks.pt").exists() else 0
        with pytest.raises(InterruptionError):
            run(method, tmp_path, network(seed), stream, save_every=1e-9)
    resumed, its_history, its_ranks = run(method, tmp_path, network(seed=5), stream, save_every=1e-9)
    assert same_weights(model, resumed)
    assert its_history.equals(history)
    assert its_ranks.equals(ranks)


def narrow():
    torch.manual_seed(0)
    return Network(width=8)


# Products of small matrices round otherwise where one of them lies by columns.
def test_a_narrow_network_goes_on_from_measures_as_they_were(tmp_path):
    method, given = "whitened-soft-threshold", {"redecompose_every": 2, "learn_steps": 60, "save_every": 1e-9}
    whole, history, _ = run(method, tmp_path / "whole", narrow(), **given)
    assert last_of(history, "learning") > 6
    with pytest.raises(InterruptionError):
        run(method, tmp_path / "cut", narrow(), stopping_at(3), **given)
    resumed, its_history, _ = run(method, tmp_path / "cut", narrow(), **given)
    assert its_history.equals(history)
    assert same_weights(whole, resumed)


@pytest.mark.parametrize("method", ["soft-threshold", "whitened-svd"])
def test_a_run_in_pivot_form_goes_on_in_pivot_form(tmp_path, method):
    given = {"form": "pivot", "save_every": 1e-9}
    whole, history, ranks = run(method, tmp_path / "whole", **given)
    for folder, stop in (("early", 3), ("late", last_of(history, "learning") + 2)):
        with pytest.raises(InterruptionError):
            run(method, tmp_path / folder, stream=stopping_at(stop), **given)
        model, _, its_ranks = run(method, tmp_path / folder, **given)
        assert its_ranks.equals(ranks)
        assert same_weights(model, whole)
        counts = [parameter_counts(fuse(copy.deepcopy(m)), SELECTION) for m in (model, whole)]
        assert counts[0] == counts[1]
        assert counts[0].total == history["parameters"].iloc[-1]


@pytest.mark.parametrize("method", ["soft-threshold", "whitened-soft-threshold", "svd"])
def test_a_distilled_run_goes_on_with_the_same_teacher(tmp_path, method):
    model, history, ranks = run(method, tmp_path / "whole", distillation=0.5)
    assert last_of(history, "learning") > 5 or method == "svd"
    stream, cut = stopping_at(5, TOTAL - 3), tmp_path / "cut"
    for _ in range(2):
        with pytest.raises(InterruptionError):
            run(method, cut, stream=stream, save_every=1e-9, distillation=0.5)
    resumed, its_history, its_ranks = run(method, cut, stream=stream, save_every=1e-9, distillation=0.5)
    assert same_weights(model, resumed)
    assert its_history.equals(history)
    assert its_ranks.equals(ranks)


def test_a_run_that_goes_on_decomposes_nothing_again(tmp_path, whole, monkeypatch):
    method, model, _, _ = whole
    stream = stopping_at(TOTAL - 1)
    with pytest.raises(InterruptionError):
        run(method, tmp_path, stream=stream, save_every=1e-9)
    monkeypatch.setattr("torch.linalg.svd", None)
    assert same_weights(model, run(method, tmp_path, network(seed=5), stream)[0])


class Tied(Network):
    """The output layer, which is not selected, stands before the table that it is tied to."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(16, 40, bias=False)
        self.leave = nn.Embedding(40, 16)
        self.enter.weight = self.leave.weight

    def forward(self, x):
        x = self.leave(x)
        for block in self.blocks:
            x = block(x)
        return self.enter(x)


def words(start):
    for step in itertools.count(start):
        yield torch.randint(0, 40, (8, 6), generator=torch.Generator().manual_seed(step))


def next_word(model, batch):
    return nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


@pytest.mark.parametrize("method", ["svd", "soft-threshold"])
def test_ranks_are_those_of_their_matrices_where_a_tied_layer_stands_first(tmp_path, method):
    torch.manual_seed(0)
    dense = Tied()
    selection = SELECTION.model_copy(update={"embeddings": ("leave",)})
    settings = settings_of(method, embeddings=True, save_every=1e-9, learn_steps=60)
    whole, cut = copy.deepcopy(dense), copy.deepcopy(dense)
    history, ranks = learn_ranks(whole, selection, words, next_word, settings, tmp_path / "whole")
    assert ranks["rank"].nunique() > 1
    stop = last_of(history, "learning") + 3

    def stream(start):
        return itertools.islice(words(start), stop - start)

    with pytest.raises(StopIteration):
        learn_ranks(cut, selection, stream, next_word, settings, tmp_path / "cut")
    resumed = copy.deepcopy(dense)
    its_history, its_ranks = learn_ranks(resumed, selection, words, next_word, settings, tmp_path / "cut")
    assert its_history.equals(history)
    assert its_ranks.equals(ranks)
    assert same_weights(resumed, whole)


def killed(method, folder, at, where):
    """Run a method in a process of its own that is killed at a step: in it, or halfway through its saving."""
    steps = 0

    def task(model, batch):
        nonlocal steps
        steps += model.training
        if steps == at and where == "step":
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(model, batch)

    def half(state, target):
        if state["place"][1] == at and where == "saving":
            Path(target).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        save(state, target)

    def child():
        torch.save = half
        run(method, folder, task=task, save_every=1e-9)

    save = torch.save
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("where", ["step", "saving"])
def test_a_killed_process_goes_on_and_ends_with_the_same_bits(tmp_path, whole, where):
    method, model, history, ranks = whole
    killed(method, tmp_path, random.randrange(1, TOTAL), where)
    resumed, its_history, its_ranks = run(method, tmp_path, network(seed=5))
    assert same_weights(model, resumed)
    assert its_history.equals(history)
    assert its_ranks.equals(ranks)
