"""A batch of sentences or of windows, and what both kinds of loaders share."""

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NOT_SCORED = -100
"""Label of a token that is not to be predicted (the usual one of PyTorch and transformers)."""


class Batch(NamedTuple):
    """Examples, or windows of text, as tensors of int64.

    Attributes
    ----------
    input_ids, attention_mask : (B, T)
        Tokens; 1 for real ones, 0 for padding.
    labels : (B,) or (B, T)
        Class of each example; or each token again, NOT_SCORED where it is not to be predicted.
    rows : (B,)
        Place of each example, or window, in the whole.
    token_type_ids : (B, T) or None
        Of pairs: 0 for the first sentence and 1 for the second, where the tokenizer tells them apart.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    rows: Tensor
    token_type_ids: Tensor | None = None


def from_step(epoch: Callable[[int], Iterator[Batch]], steps: int, step: int) -> Iterator[Batch]:
    """Endless batches from a step on, of epochs of so many steps."""
    number, done = divmod(step, steps)
    yield from islice(epoch(number), done, None)
    for later in count(number + 1):
        yield from epoch(later)


def generator_of(seed: int, epoch: int) -> np.random.Generator:
    """Random numbers of one epoch."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch]))


def placed(values: NDArray, real: NDArray[np.bool_], padding: int) -> Tensor:
    """A row of values for each row of `real`, padding where it is False."""
    grid = np.full(real.shape, padding, dtype=np.int64)
    grid[real] = values
    return torch.from_numpy(grid)
