import numpy as np
import torch
from scipy.special import softmax

from softjet.attention.counts import count_bins
from softjet.attention.distribution import BINS, distribution


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
    counts = count_bins(torch.eye(3)[None, None], torch.tensor([2]), BINS)
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
    for seen, ratios in look(distribution(1), jet_table):
        n = int(seen.jets.n[0])
        logits = (seen.qk + seen.bias)[0, 1, :n, :n].double().numpy()
        gauss = np.random.default_rng((1, int(seen.jets.key[0]))).standard_normal((n, n), np.float32)
        gauss -= gauss.mean(1, keepdims=True)
        rows = softmax(gauss / gauss.std(1, keepdims=True) * logits.std(1, keepdims=True), axis=1)
        expected, _ = np.histogram(rows, BINS, (0, 1))
        assert [float(ratio.null[0, 1]) for ratio in ratios] == expected.tolist()
