from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from softjet.attention.untrained import untrained
from softjet.part.model import ParticleTransformer
from softjet.part.pairs import pair_features, real_pairs


@dataclass
class Batch:
    features: Tensor
    vectors: Tensor
    mask: Tensor


@pytest.mark.parametrize("normalisation", ["masked", "renormalised"])
def test_statistics_are_the_jets_own_and_weights_are_initial(model, jets_of, normalisation):
    # As a loader gives them, long jets first, and more than a running average would remember.
    batches = [Batch(*jets_of([2 + size, 2 + size // 2], 2 + size, size)[0]) for size in range(50, 0, -1)]
    config = model.config.model_copy(update={"normalisation": normalisation})
    state = torch.get_rng_state()
    twin = untrained(config, 7, batches)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    fresh = ParticleTransformer(config)
    for (name, here), there in zip(twin.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(here, there), name
    of_particles = [b.features.transpose(1, 2)[b.mask[:, 0]] for b in batches]
    of_pairs = [pair_features(b.vectors, real_pairs(b.mask[:, 0])) for b in batches]
    for norm, rows in ((twin.embed.norm, of_particles), (twin.pair_embed[0], of_pairs)):
        torch.testing.assert_close(norm.running_mean, torch.stack([r.mean(0) for r in rows]).mean(0))
        of_sample = int(normalisation == "masked")  # as PyTorch's BatchNorm keeps it
        variance = torch.stack([r.var(0, correction=of_sample) for r in rows]).mean(0)
        torch.testing.assert_close(norm.running_var, variance)
    momenta = [[m.momentum for m in n.modules() if isinstance(m, nn.BatchNorm1d)] for n in (twin, fresh)]
    assert momenta[0] == momenta[1]
    assert not twin.training


def test_dropout_stays_off_and_the_seed_decides(model, jets_of):
    batches = [Batch(*jets_of([9, 5], 9)[0])]
    twins = [untrained(model.config, seed, batches).state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(twins[0][name], twins[1][name]) for name in twins[0])
    assert not all(torch.equal(twins[0][name], twins[2][name]) for name in twins[0])
