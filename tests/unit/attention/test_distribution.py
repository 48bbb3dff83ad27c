import numpy as np
import pytest
import torch

from softjet.attention.distribution import BINS, binned, distribution
from softjet.attention.nulls import random_attention


def test_every_pair_of_real_particles_is_in_one_bin(look, jet_table):
    for seen, ratios in look(distribution(1), jet_table):
        assert [ratio.name for ratio in ratios] == ["weight"] * BINS
        assert [ratio.threshold for ratio in ratios] == [place / BINS for place in range(BINS)]
        pairs = seen.jets.n.float().square()[:, None].expand(ratios[0].top.shape)
        for column in ("top", "null"):
            assert torch.equal(torch.stack([getattr(ratio, column) for ratio in ratios]).sum(0), pairs)
        assert torch.equal(ratios[0].bottom, pairs)
        jet, head = 0, 1
        n = int(seen.jets.n[jet])
        expected, _ = np.histogram(seen.weights[jet, head, :n, :n], BINS, (0, 1))
        assert [float(ratio.top[jet, head]) for ratio in ratios] == expected.tolist()


def test_a_weight_of_one_is_in_the_last_bin():
    counts = binned(torch.eye(3)[None, None], torch.tensor([[True, True, False]]))
    assert counts[0, 0].tolist() == [2.0, *[0.0] * (BINS - 2), 2.0]


def test_the_null_has_the_rows_variance_and_is_the_jets_own(look, jet_table):
    def null(table):
        return {
            (int(entry), seen.layer): torch.stack([ratio.null for ratio in ratios], -1)[jet]
            for seen, ratios in look(distribution(1), table)
            for jet, entry in enumerate(seen.jets.table["entry"].to_pylist())
        }

    whole, some = null(jet_table), null(jet_table.slice(5, 9))
    assert all(torch.equal(whole[place], one) for place, one in some.items())
    # Against rows drawn one by one, over many jets.
    drawn, expected = torch.zeros(BINS), torch.zeros(BINS)
    for seen, ratios in look(distribution(1), jet_table):
        seeds = [(7, seen.layer, int(key)) for key in seen.jets.key]
        rows = random_attention(seen.variance, seen.jets.real, seeds)
        expected += binned(rows, seen.jets.real).sum((0, 1))
        drawn += torch.stack([ratio.null.sum() for ratio in ratios])
    pairs = float(expected.sum())
    assert drawn.numpy() / pairs == pytest.approx(expected.numpy() / pairs, abs=0.02)
    assert (expected > 0).sum() > 10
