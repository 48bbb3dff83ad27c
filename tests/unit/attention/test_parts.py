import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from softjet.attention import parts as module
from softjet.attention.parts import energy_ranks, parts, without_diagonal
from softjet.attention.reading import JetReader
from softjet.attention.recording import record
from softjet.attention.stream import stream


@pytest.fixture
def seen(model, jet_table, tmp_path, monkeypatch):
    """Values by (statistic, threshold), layer and head of one jet, and its recorded qk and bias."""
    monkeypatch.setattr(module, "FEWEST_PARTICLES", 2)
    path = tmp_path / "jets.parquet"
    pq.write_table(jet_table.slice(3, 2), path)
    jets = next(iter(JetReader([path], 1, 1, model.config, 4)))
    statistics = {name: one._replace(every=1) for name, one in parts((0.3,)).items()}
    sums = stream(model, [jets], statistics, 5, 1, 1e-4).sums
    values = {
        key: one.by_class[:, 0].sum(0)[top] / one.by_class[:, 0].sum(0)[bottom]
        for one in sums.values()
        for key, (top, bottom, *_) in zip(one.names, one.columns, strict=True)
    }
    values = {name if np.isnan(t) else (name, t): value for (name, t), value in values.items()}
    recording = record(model, jets.features, jets.vectors, jets.mask)
    return values, torch.stack(recording.qk, 1)[0].double(), recording.bias[0].double()


def test_each_part_alone(seen):
    values, qk, bias = seen
    whole = (qk + bias).softmax(-1).argmax(-1)
    for name, logits in (("qk", qk), ("bias", bias.expand_as(qk))):
        largest, key = logits.softmax(-1).max(-1)
        expected = {
            f"same_key_{name}": (key == whole).double(), f"largest_{name}": largest,
            (f"above_{name}", 0.3): (largest > 0.3).double(),
        }  # fmt: skip
        for statistic, of_query in expected.items():
            assert values[statistic] == pytest.approx(of_query.mean(-1).numpy(), rel=1e-5), statistic
    assert 0 < values["same_key_qk"].mean() < 1


def test_variances_and_winning_logits_are_above_the_rows_mean(seen):
    values, qk, bias = seen
    key = (qk + bias).argmax(-1, keepdim=True)
    a, b = (part - part.mean(-1, keepdim=True) for part in (qk, bias.expand_as(qk)))
    whole = (a + b).square().mean(-1).sum(-1)
    expected = {"qk": a.square(), "bias": b.square(), "both": 2 * a * b}
    for name, squares in expected.items():
        share = squares.mean(-1).sum(-1) / whole
        assert values[f"variance_{name}"] == pytest.approx(share.numpy(), rel=1e-4, abs=1e-6), name
    assert sum(values[f"variance_{name}"] for name in expected) == pytest.approx(np.ones((3, 2)))
    heights = [part.gather(-1, key)[..., 0] for part in (a, b)]
    for name, height in zip(("qk", "bias"), heights, strict=True):
        assert values[f"winner_{name}"] == pytest.approx(height.mean(-1).numpy(), rel=1e-4), name
    by_bias = (heights[1] > heights[0]).double().mean(-1).numpy()
    assert values["winner_by_bias"] == pytest.approx(by_bias)


def test_ratios_count_pairs_in_decades(seen):
    values, qk, bias = seen
    ratio = qk.abs() / bias.abs()
    for decade in module.DECADES:
        share = (ratio > decade).double().mean((-1, -2)).numpy()
        assert values["ratio", decade] == pytest.approx(share), decade


def test_spectrum_is_of_the_bias_without_its_diagonal(seen):
    values, _, bias = seen
    n = bias.shape[-1]
    for head, matrix in enumerate(bias.numpy()):
        other = ~np.eye(n, dtype=bool)
        mean = np.array([row[keep].mean() for row, keep in zip(matrix, other, strict=True)])
        energy = np.linalg.svd((matrix - mean[:, None]) * other, compute_uv=False) ** 2
        held = np.cumsum(energy) / energy.sum()
        for share in module.ENERGIES:
            assert values["rank", share][0, head] == 1 + (held < share).sum()
        assert values["diagonal"][0, head] == pytest.approx((matrix.diagonal() - mean).mean(), rel=1e-4)


def test_ranks_of_known_matrices():
    two = torch.diag_embed(torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    assert energy_ranks(two, (0.5, 0.9, 0.95))[0].tolist() == [1, 0]
    assert [rank[0] for rank in energy_ranks(two, (0.9, 0.95))] == [1, 2]


def test_padding_leaves_the_centred_bias_alone():
    bias = torch.randn(1, 2, 6, 6)
    real = torch.arange(6)[None] < 4
    centred, diagonal = without_diagonal(bias, real)
    alone, of_alone = without_diagonal(bias[..., :4, :4], real[:, :4])
    torch.testing.assert_close(centred[..., :4, :4], alone)
    torch.testing.assert_close(diagonal[..., :4], of_alone)
    assert (centred[..., 4:, :] == 0).all()
    assert (centred[..., 4:] == 0).all()
