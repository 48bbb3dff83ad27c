"""Batches side by side."""

import threading

import pytest
import torch

from softjet.part.lanes import side_by_side
from softjet.part.prediction import predict_loader


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_batches_are_computed_at_once_by_a_thread_each_and_come_in_order():
    meeting = threading.Barrier(2, timeout=30)

    def call(batch):
        meeting.wait()
        return batch, torch.get_num_threads()

    assert list(side_by_side(call, range(6))) == [(batch, 1) for batch in range(6)]
    assert torch.get_num_threads() == 2


def test_with_one_thread_or_a_gpu_the_caller_computes():
    def call(batch):
        return batch, threading.current_thread()

    here = [(0, threading.current_thread())]
    assert list(side_by_side(call, [0], torch.device("cuda"))) == here
    assert list(side_by_side(call, [0], torch.device("cpu"))) != here
    torch.set_num_threads(1)
    assert list(side_by_side(call, [0])) == here


def test_what_a_batch_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda batch: 1 / batch, [1, 0, 1]))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_answers_do_not_depend_on_the_number_of_threads(model, jets, precision):
    several = predict_loader(model, jets, precision)
    torch.set_num_threads(1)
    assert all(map(torch.equal, several, predict_loader(model, jets, precision)))
    assert not torch.is_autocast_enabled("cpu")
