"""Batches of windows of running text: endless ones to learn from, and those that a perplexity is made of."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedTokenizerBase

from softjet.errors import InputError
from softjet.language.batch import NOT_SCORED, Batch, from_step, generator_of, placed
from softjet.language.tokens import tokenise_text


class TextLoader:
    """Batches of windows of running text.

    Training windows do not overlap; where they begin differs from pass to pass. Evaluation windows begin
    every `stride` tokens, and each scores only what none before it has scored: every token but the first of
    the text when windows overlap, every token but the first of each window when they do not. A last window
    that would score nothing is left out.

    Parameters
    ----------
    table : DataFrame
        text, a line each (:func:`softjet.language.text.prepare_text`).
    tokenizer : PreTrainedTokenizerBase
        Of the model.
    batch_size : int
        Windows a batch.
    seed : int
        Seed of order and offset.
    length : int
        Tokens of a window.
    stride : int, optional
        Tokens between the beginnings of two evaluation windows; None: the length.
    most : int, optional
        First windows that are evaluated; None: all.

    Raises
    ------
    InputError
        The text is shorter than two tokens.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        seed: int,
        length: int,
        stride: int | None = None,
        most: int | None = None,
    ) -> None:
        self.batch_size, self.seed, self.most = batch_size, seed, most
        self._tokens = tokenise_text(table["text"].tolist(), tokenizer)
        if len(self._tokens) < 2:
            raise InputError("text", "text", f"holds {len(self._tokens)} tokens; give at least two")
        self.length = min(length, len(self._tokens))
        self.stride = stride or length
        self._padding = tokenizer.pad_token_id or 0

    @property
    def evaluated(self) -> int:
        """Windows that are evaluated."""
        return len(self._evaluation_spans())

    @property
    def windows(self) -> int:
        """Training windows of one pass: as many as there are wherever the first begins."""
        return max(1, (len(self._tokens) - self.length + 1) // self.length)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one pass; the windows that are left over wait for the next."""
        return max(1, self.windows // self.batch_size)

    def training(self, step: int = 0) -> Iterator[Batch]:
        """Endless batches from a step on: windows in a new order each pass, at a new offset."""
        return from_step(self._epoch, self.steps_per_epoch, step)

    def evaluation(self) -> Iterator[Batch]:
        """Windows in order, each token scored at most once; the last window may be shorter."""
        spans = self._evaluation_spans()
        for first in range(0, len(spans), self.batch_size):
            yield self._batch(spans[first : first + self.batch_size], first)

    def _epoch(self, epoch: int) -> Iterator[Batch]:
        generator = generator_of(self.seed, epoch)
        room = len(self._tokens) - self.windows * self.length
        offset = int(generator.integers(min(room, self.length - 1) + 1))
        order = generator.permutation(self.windows)
        for step in range(self.steps_per_epoch):
            starts = offset + self.length * order[step * self.batch_size : (step + 1) * self.batch_size]
            yield self._batch([(int(start), int(start), int(start) + self.length) for start in starts])

    def _evaluation_spans(self) -> list[tuple[int, int, int]]:
        """Beginning, first scored token and end of each window."""
        spans, scored = [], 0
        for start in range(0, len(self._tokens), self.stride):
            end = min(start + self.length, len(self._tokens))
            if end > max(scored, start + 1):  # nothing comes before the first token of a window
                spans.append((start, scored, end))
            scored = end
            if end == len(self._tokens):
                break
        return spans[: self.most]

    def _batch(self, spans: list[tuple[int, int, int]], first: int = 0) -> Batch:
        lengths = np.array([end - start for start, _, end in spans])
        place = np.arange(lengths.max())
        real = place < lengths[:, None]
        tokens = np.concatenate([self._tokens[start:end] for start, _, end in spans])
        input_ids = placed(tokens, real, self._padding)
        scored = real & (place >= np.array([scored - start for start, scored, _ in spans])[:, None])
        labels = input_ids.masked_fill(~torch.from_numpy(scored), NOT_SCORED)
        rows = torch.from_numpy(first + np.arange(len(spans)))
        return Batch(input_ids, torch.from_numpy(real.astype(np.int64)), labels, rows)
