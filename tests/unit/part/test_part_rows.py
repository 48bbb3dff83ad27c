"""The pair embedding, whose normalisations are folded into its matrices and which works block by block."""

import pytest
import torch
from torch import nn

from softjet.part.norm import BatchRenorm1d
from softjet.part.pairs import PairEmbedding


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("softjet.part.rows.BLOCK", 100)


def embedding(dtype=torch.float64, norm=BatchRenorm1d):
    torch.manual_seed(1)
    found = PairEmbedding((16, 12), 4, norm).to(dtype)
    for parameter in found.parameters():
        nn.init.normal_(parameter, std=0.5)
    return found


def features(shift=0.0):
    torch.manual_seed(2)
    return 3 * torch.randn(234, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64) + shift


def plainly(model, rows):
    return nn.Sequential.forward(model, rows)


def gradients(model, values):
    weight = torch.linspace(-1, 1, values.numel(), dtype=values.dtype).view_as(values)
    return torch.autograd.grad((values * weight).sum(), tuple(model.parameters()))


def test_norms_over_several_processes_are_known_as_norms():
    model = embedding(norm=nn.BatchNorm1d).eval()
    plain, rows = model(features()), features()
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    torch.testing.assert_close(shared(rows), plain)
    torch.testing.assert_close(shared.train()(rows), embedding(norm=nn.BatchNorm1d)(rows))


def test_no_pair_makes_no_row():
    model = embedding().eval()
    with torch.no_grad():
        assert model(features()[:0]).shape == (0, 4)


@pytest.mark.parametrize("norm", [BatchRenorm1d, nn.BatchNorm1d])
def test_evaluation_is_that_of_the_layers_one_by_one(norm):
    model = embedding(norm=norm)
    for step in range(3):
        model(features(shift=step))
    model.eval()
    rows = features(shift=1)
    found, expected = model(rows), plainly(model, rows)
    torch.testing.assert_close(found, expected)
    for one, other in zip(gradients(model, found), gradients(model, expected), strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        torch.testing.assert_close(model(rows), expected)


def test_gradients_reach_the_features_where_they_are_asked_for():
    model, rows, same = embedding().eval(), features().requires_grad_(), features().requires_grad_()
    model(rows).square().sum().backward()
    plainly(model, same).square().sum().backward()
    torch.testing.assert_close(rows.grad, same.grad)
    assert rows.grad.abs().max() > 0


def test_low_precision_loses_no_more_than_the_layers_one_by_one():
    model, rows = embedding(torch.float32), features().float()
    for _ in range(30):
        model(rows)
    model.eval()
    exact = plainly(model, rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        one_by_one, found = plainly(model, rows), model(rows)
    assert found.dtype == torch.bfloat16
    assert 0 < (found - exact).square().mean() < 2 * (one_by_one - exact).square().mean()
