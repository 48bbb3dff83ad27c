"""Batches of sentences or pairs: endless ones to learn from, a function of the step alone, and each once."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from softjet.language.batch import Batch, from_step, generator_of, placed
from softjet.language.tokens import tokenise_examples

POOL = 64
"""Batches that are sorted by length together, so that little of a batch is padding."""


class ClassificationLoader:
    """Batches of sentences or pairs, padded to their longest.

    Parameters
    ----------
    table : DataFrame
        text, pair, label (:func:`softjet.language.text.prepare_text`).
    tokenizer : PreTrainedTokenizerBase
        Of the model.
    batch_size : int
        Examples a batch.
    seed : int
        Seed of the order.
    length : int
        Most tokens of an example.
    most : int, optional
        First examples that are evaluated; None: all.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        seed: int,
        length: int,
        most: int | None = None,
    ) -> None:
        self.batch_size, self.seed, self.most = batch_size, seed, most
        self._labels = table["label"].to_numpy(np.int64)
        self._examples = tokenise_examples(table, tokenizer, length)
        self._padding = tokenizer.pad_token_id or 0

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def evaluated(self) -> int:
        """Examples that are evaluated."""
        return len(self._labels[: self.most])

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one pass; the examples that are left over wait for the next."""
        return max(1, len(self) // self.batch_size)

    def training(self, step: int = 0) -> Iterator[Batch]:
        """Endless batches from a step on, in a new order each pass."""
        return from_step(self._epoch, self.steps_per_epoch, step)

    def evaluation(self) -> Iterator[Batch]:
        """Every example once; those of like length together, and `rows` says which they are."""
        rows = np.arange(self.evaluated)
        for batch in self._in_batches(self._by_length(rows)):
            yield self._batch(batch)

    def _epoch(self, epoch: int) -> Iterator[Batch]:
        generator = generator_of(self.seed, epoch)
        rows = generator.permutation(len(self))[: self.steps_per_epoch * self.batch_size]
        size = POOL * self.batch_size
        pools = [self._by_length(rows[start : start + size]) for start in range(0, len(rows), size)]
        batches = self._in_batches(np.concatenate(pools))
        for place in generator.permutation(len(batches)):
            yield self._batch(batches[place])

    def _by_length(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows[np.argsort(self._examples.lengths[rows], kind="stable")]

    def _in_batches(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        ends, lengths = self._examples.ends, self._examples.lengths[rows]
        real = np.arange(lengths.max()) < lengths[:, None]
        flat = np.concatenate([np.arange(ends[row], ends[row + 1]) for row in rows])
        types = self._examples.types
        return Batch(
            placed(self._examples.tokens[flat], real, self._padding),
            torch.from_numpy(real.astype(np.int64)),
            torch.from_numpy(self._labels[rows]),
            torch.from_numpy(rows),
            None if types is None else placed(types[flat], real, 0),
        )
