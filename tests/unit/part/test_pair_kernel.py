"""The kernel for pairs, against float64 given the same features; without a GPU in Triton's interpreter."""

import copy
import os

import pytest
import torch
from test_inference import Jets, trained

GPU = torch.cuda.is_available()
if not GPU:
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="Triton comes with PyTorch's builds for GPUs")

from softjet.part.pair_kernel import FusedPairBias, fits  # noqa: E402
from softjet.part.pairs import dense_pair_features  # noqa: E402

DEVICE = torch.device("cuda" if GPU else "cpu")
SHAPES = [
    {"pair_embed_dims": (16,)},
    {"pair_embed_dims": (32, 32), "pair_mass": "stable"},
    {"pair_embed_dims": (64, 64, 64), "heads": 8},
]
MANY = (117,) * 300


def computed(model, jets, dtype):
    """Bias, and the features that it was made from; both (B, ..., P, P) below the diagonal."""
    kernel = FusedPairBias(model.pair_embed, model.config.pair_mass, dtype).to(DEVICE)
    real = jets.mask.squeeze(1)
    features = torch.full((*real.shape, real.shape[1], 4), torch.nan, device=DEVICE)
    bias = kernel(jets.vectors.to(DEVICE), real.to(DEVICE), features)
    return bias.cpu().double(), features.cpu()


def below(jets):
    """Pairs of real particles, the first not before the second, bool (B, P, P)."""
    real = jets.mask.squeeze(1)
    return (real[:, :, None] & real[:, None, :]).tril()


def distance(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lengths", [(5, 1, 12), (20, 33), (16, 16), MANY if GPU else MANY[:1]])
@pytest.mark.parametrize(
    ("dtype", "limit"),
    [
        (torch.float32, 1e-6),
        (torch.float16, 1e-3),
        # The interpreter does not know bfloat16.
        pytest.param(torch.bfloat16, 1e-2, marks=pytest.mark.skipif(not GPU, reason="no GPU here")),
    ],
)
def test_the_bias_is_that_of_float64(shape, lengths, dtype, limit):
    model, jets = trained(**shape), Jets(lengths)
    bias, features = computed(model, jets, dtype)
    exact = copy.deepcopy(model.pair_embed).double()
    where = below(jets)
    with torch.no_grad():
        expected = exact(features[where].double())
    found = bias.permute(0, 2, 3, 1)
    assert 0 < distance(found[where], expected) < limit
    real = jets.mask.squeeze(1)
    assert torch.equal(found.isneginf().all(-1), ~real[:, None, :].expand(where.shape))
    mirrored = found.transpose(1, 2)
    assert torch.equal(mirrored[where], found[where])


@pytest.mark.parametrize("mass", ["published", "stable"])
def test_features_are_those_of_pytorch(mass):
    model, jets = trained(pair_embed_dims=(16,), pair_mass=mass), Jets((5, 20))
    _, features = computed(model, jets, torch.float32)
    expected = dense_pair_features(jets.vectors.to(DEVICE), mass).cpu()
    where = below(jets)
    torch.testing.assert_close(features[where], expected[where], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("widths", "known"),
    [((64, 64, 64), True), ((16,), True), ((64, 32), False), ((48, 48), False), ((128, 128), False)],
)
def test_widths_that_it_does_not_know_are_left_to_pytorch(widths, known):
    assert fits(trained(pair_embed_dims=widths).pair_embed) == known
