"""One look at a row tells what many passes over all rows would."""

import numpy as np
import pytest
import torch

from softjet.attention.described import describe


def attention(lengths, dtype):
    """Weights (B, 3, P, P), 0 at padding, and logits, -inf there."""
    generator, size = torch.Generator().manual_seed(1), max(lengths)
    real = torch.arange(size) < torch.tensor(lengths)[:, None]
    both = (real[:, :, None] & real[:, None, :])[:, None]
    shape = (len(lengths), 3, size, size)
    logits = torch.randn(shape, generator=generator, dtype=dtype)
    weights = logits.masked_fill(~both, -1e30).softmax(-1) * both
    # An offset that the softmax does not see.
    return weights, (logits + 5).masked_fill(~both, -torch.inf)


@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.float32, {"rtol": 1e-4, "atol": 1e-5}), (torch.float64, {})]
)
def test_a_description_is_that_of_numpy(dtype, precision):
    lengths = [1, 2, 7, 40, 33]
    parts = attention(lengths, dtype)
    found = describe(*parts, torch.tensor(lengths))
    assert found.largest.dtype == dtype
    weights, logits = (part.double().numpy() for part in parts)
    for jet, n in enumerate(lengths):
        for head, query in np.ndindex(3, n):
            w, x = (part[jet, head, query, :n] for part in (weights, logits))
            wanted = w.max(), w.argmax(), x[w.argmax()] - w @ x, x.mean(), x.var()
            for value, one in zip(found, wanted, strict=True):
                torch.testing.assert_close(
                    value[jet, head, query].double(), torch.tensor(one).double(), **precision
                )
        assert all((value[jet, :, n:] == 0).all() for value in found)


def test_of_equal_weights_the_first_is_the_key():
    weights = torch.full((1, 1, 4, 4), 0.25)
    assert (describe(weights, weights, torch.tensor([4])).key == 0).all()


def test_any_layout_of_memory_will_do():
    parts = attention([5, 9], torch.float64)
    turned = [part.mT.contiguous().mT for part in parts]
    for one, other in zip(
        describe(*parts, torch.tensor([5, 9])), describe(*turned, torch.tensor([5, 9])), strict=True
    ):
        assert torch.equal(one, other)
