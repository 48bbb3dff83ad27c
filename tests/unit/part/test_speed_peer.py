"""weaver-core in a process of its own: the same jets and weights, without settings of memory."""

import os

import pytest
import torch
from test_inference import Jets, trained

from softjet.config.part import ParTRun, Training
from softjet.part import speed_peer
from softjet.part.speed_weaver import as_weaver_reads, weaver_network


@pytest.fixture
def started(monkeypatch):
    """What would start the other process; that is made here instead, and its environment kept."""
    found = {}

    class Here:
        def __init__(self, function, arguments, environment):
            found["environment"] = environment
            self.call = getattr(speed_peer, function.split(":")[1])(*arguments)

        def __enter__(self):
            return self.call

        def __exit__(self, *error):
            found["ended"] = True

    monkeypatch.setattr(speed_peer, "Peer", Here)
    return found


def shuffled(model, seed=3):
    return as_weaver_reads([Jets((5, 1, 12)), Jets((4, 9), seed=2)], model.config, 2, seed)


def test_it_answers_the_same_jets_with_the_same_weights(started, monkeypatch):
    model = trained(embed_dims=(16, 32, 16), max_particles=20)
    batches, seen = shuffled(model), []
    expected = [weaver_network(model)(b.features, b.vectors, b.mask) for b in batches]
    monkeypatch.setattr(
        speed_peer, "one_by_one", lambda network, read: seen.extend(network(*inputs) for inputs in read)
    )
    with speed_peer.answering_elsewhere(model, batches) as call:
        call()
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)
    assert started["ended"]


def test_it_learns_from_call_after_call(started, monkeypatch):
    model = trained(embed_dims=(16, 32, 16), max_particles=20)
    calls, seen = [shuffled(model, 3), shuffled(model, 4)], []
    monkeypatch.setattr(
        speed_peer, "learning", lambda network, config, calls: seen.append((network, config, calls))
    )
    run = ParTRun(model=model.config, training=Training(precision="bfloat16", learning_rate=0.01))
    with speed_peer.learning_elsewhere(model, run, calls):
        pass
    ((network, config, read),) = seen
    assert network.training
    assert (config.precision, config.learning_rate) == ("float32", 0.01)
    assert [[batch.rows.tolist() for batch in call] for call in read] == [
        [batch.rows.tolist() for batch in call] for call in calls
    ]
    torch.testing.assert_close(network.state_dict(), weaver_network(model).state_dict(), rtol=0, atol=0)


def test_settings_of_memory_are_left_out_and_nothing_else(started, monkeypatch):
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1000")
    monkeypatch.setenv("OTHER", "1000")
    model = trained(embed_dims=(16, 32, 16), max_particles=20)
    with speed_peer.answering_elsewhere(model, shuffled(model)):
        pass
    given = started["environment"]
    assert "MALLOC_TOP_PAD_" not in given
    assert given == {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    assert given["OTHER"] == "1000"
