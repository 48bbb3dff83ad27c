"""Networks on jets of one length, for the growth of time and memory."""

import pytest
import torch
from small_part import SMALL

from softjet.part.growth import answer, answers, jets_of_length
from softjet.part.speed import WAYS


def test_jets_have_as_many_massless_particles_as_asked_for():
    features, vectors, mask = jets_of_length(SMALL, 3, 5)
    assert (features.shape, vectors.shape, mask.shape) == ((3, 7, 5), (3, 4, 5), (3, 1, 5))
    assert mask.all()
    momentum, energy = vectors[:, :3].norm(dim=1), vectors[:, 3]
    torch.testing.assert_close(momentum, energy)


@pytest.mark.parametrize("way", list(WAYS))
def test_every_way_answers_for_every_length(way):
    calls = answers(SMALL, way, 3, [2, 9])
    assert list(calls) == [2, 9]
    with torch.inference_mode():
        found = [call() for call in calls.values()]
    assert [logits.shape for logits in found] == [(3, SMALL.classes)] * 2
    assert all(logits.isfinite().all() for logits in found)
    assert not torch.equal(*found)


def test_a_network_is_made_of_plain_values(monkeypatch):
    seen = []
    monkeypatch.setitem(WAYS, "noted", lambda model: lambda *inputs: seen.append((model.config, *inputs)))
    answer(SMALL.model_dump(mode="json"), "noted", 3, 4)
    ((config, features, _, _),) = seen
    assert config == SMALL
    assert features.shape == (3, 7, 4)
