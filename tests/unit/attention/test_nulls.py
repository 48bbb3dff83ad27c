import numpy as np
import pytest
import torch

from softjet.attention.nulls import centre_rows, random_attention, row_variance


def test_row_variance_ignores_padding_and_shifts_of_a_row():
    logits = torch.tensor([[1.0, 3.0, 100.0], [7.0, 7.0, 100.0], [100.0, 100.0, 100.0]])[None, None]
    real = torch.tensor([[True, True, False]])
    assert row_variance(logits, real)[0, 0].tolist() == [1, 0, 0]
    assert row_variance(logits + 5, real)[0, 0].tolist() == [1, 0, 0]


def test_null_has_the_row_variance_asked_for():
    real = torch.arange(50) < torch.tensor([[50], [30]])
    variance = torch.rand(2, 3, 50) * 9
    weights = random_attention(variance, real, [(1, 0), (1, 1)])
    logits = weights.log().nan_to_num(neginf=0)
    torch.testing.assert_close(row_variance(logits, real), variance * real[:, None])
    torch.testing.assert_close(weights.sum(-1), real[:, None].expand(2, 3, 50).float())
    assert (weights[1, :, :, 30:] == 0).all()


def test_null_is_gaussian():
    real = torch.ones(1, 400, dtype=torch.bool)
    logits = centre_rows(random_attention(torch.ones(1, 1, 400), real, [(1,)]).log(), real).flatten()
    assert float((logits**3).mean()) == pytest.approx(0, abs=0.03)
    assert float((logits**4).mean()) == pytest.approx(3, abs=0.1)


def test_null_of_a_jet_does_not_depend_on_its_batch():
    real = torch.arange(8) < torch.tensor([[8], [5]])
    variance = torch.rand(2, 2, 8)
    both = random_attention(variance, real, [(1, 0), (1, 1)])
    alone = random_attention(variance[1:, :, :5], real[1:, :5], [(1, 1)])
    torch.testing.assert_close(both[1, :, :5, :5], alone[0])
    other = random_attention(variance, real, [(2, 0), (2, 1)])
    assert not np.allclose(both, other)
