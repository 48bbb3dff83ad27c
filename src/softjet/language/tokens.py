"""Texts as token numbers, held end to end."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from softjet.language.wikitext import JOIN

EXAMPLES_A_CALL = 8192
_SEEN = r"\w!-~"
_CONTROLS = r"\x0b\x0c\x1c-\x1f\x85"
"""White space to Python, and to some tokenizers a control character that they take out."""

CHARACTERS_A_CALL = 1 << 22
"""Text that is handed to the tokenizer at once: it keeps some hundred bytes a token for so long."""


@dataclass(frozen=True)
class Examples:
    """Sentences or pairs as tokens.

    Attributes
    ----------
    tokens : array of int32
        All of them, one example after the other.
    types : array of int8 or None
        Of pairs: 0 for the first sentence and 1 for the second, where the tokenizer tells them apart.
    ends : (N + 1,) array of int
        Example n is tokens[ends[n] : ends[n + 1]].
    """

    tokens: NDArray[np.int32]
    types: NDArray[np.int8] | None
    ends: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example."""
        return np.diff(self.ends)


def tokenise_examples(table: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, length: int) -> Examples:
    """Tokens of each row of text and, where there is one, pair; cut to `length` tokens, longer texts first.

    A row that makes no token gets the end of text.

    Parameters
    ----------
    table : DataFrame
        text, pair.
    tokenizer : PreTrainedTokenizerBase
        With its own special tokens.
    length : int
        Most tokens of an example.
    """
    paired = bool(table["pair"].notna().any())
    parts = []
    for start in range(0, len(table), EXAMPLES_A_CALL):
        rows = table.iloc[start : start + EXAMPLES_A_CALL]
        parts.append(
            tokenizer(
                first_words(rows["text"], length),
                first_words(rows["pair"], length) if paired else None,
                truncation=True,
                max_length=length,
                return_attention_mask=False,
                return_token_type_ids=paired,
            )
        )
    # A model cannot be asked about no token at all, which an empty text is without special tokens.
    lists = [tokens or [_end_of(tokenizer)] for part in parts for tokens in part["input_ids"]]
    types = [kinds or [0] for part in parts for kinds in part["token_type_ids"]] if paired else None
    ends = np.concatenate([[0], np.cumsum([len(tokens) for tokens in lists], dtype=np.int64)])
    return Examples(_flat(lists, np.int32), None if types is None else _flat(types, np.int8), ends)


def _end_of(tokenizer: PreTrainedTokenizerBase) -> int:
    ends = (tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
    return next((int(end) for end in ends if end is not None), 0)


def first_words(texts: Iterable[str], count: int) -> list[str]:
    """Beginning of each text, up to the end of so many words with a letter, digit or sign of ASCII.

    Such a word makes one token or more, so that no more words are needed for as many tokens; to tokenise
    whole reviews of which a fourth is kept took most of the time. Other words may make none: tokenizers
    take out what is not seen, and controls between words too, which therefore part none here.
    """
    words = re.compile(rf"(?:[^{_SEEN}]*+[{_SEEN}][\S{_CONTROLS}]*+){{{count}}}")
    return [found.group() if (found := words.match(text)) else text for text in texts]


def tokenise_text(lines: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int32]:
    """Tokens of the lines joined into one text, with the special tokens that the tokenizer puts before it.

    Those that it puts behind a text are left out. The text goes to the tokenizer in one piece up to four
    million characters (WikiText's test split has 1.3 million) and beyond that in pieces that end with a line,
    so that memory stays bounded; a seam can change a token or two beside it.

    Parameters
    ----------
    lines : sequence of str
        As :func:`softjet.language.wikitext.text_rows` gives them.
    tokenizer : PreTrainedTokenizerBase
    """
    sizes = np.cumsum([len(line) + len(JOIN) for line in lines])
    pieces = sizes // CHARACTERS_A_CALL
    starts = [0, *(np.flatnonzero(np.diff(pieces)) + 1), len(lines)]
    parts = [_put_before(tokenizer)]
    for first, last in pairwise(starts):
        text = JOIN.join(lines[first:last]) + (JOIN if last < len(lines) else "")
        parts.append(_plain_tokens(text, tokenizer))
    return np.concatenate(parts)


def _put_before(tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int32]:
    """Special tokens that a tokenizer puts before a text, found by those that it puts around a letter."""
    whole, bare = (_plain_tokens("a", tokenizer, special) for special in (True, False))
    places = range(len(whole) - len(bare) + 1)
    count = next((n for n in places if np.array_equal(whole[n : n + len(bare)], bare)), 0)
    return whole[:count]


def _plain_tokens(text: str, tokenizer: PreTrainedTokenizerBase, special: bool = False) -> NDArray[np.int32]:
    tokens = tokenizer(text, return_attention_mask=False, add_special_tokens=special, verbose=False)
    return np.asarray(tokens["input_ids"], dtype=np.int32)


def _flat(lists: list[list[int]], kind: type) -> NDArray:
    return np.fromiter((number for numbers in lists for number in numbers), dtype=kind)
