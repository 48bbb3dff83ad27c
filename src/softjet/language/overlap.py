"""Training text that gives evaluation text away."""

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BLOCK = 7
"""Letters looked up at once: those of the training text at multiples of this."""

SHORTEST = 2 * BLOCK - 1
"""Letters of the shortest text looked for within another, about three words. Wherever it stands, a whole
block begins among its first letters."""

_BRACKETS = re.compile(r"-[lr][rsc]b-", re.IGNORECASE)
_OTHER = re.compile(r"[\W_]+")


class Overlap(NamedTuple):
    """Which training texts overlap with evaluation text, each an array (N,) of bool.

    Attributes
    ----------
    equal : array
        Equal to an evaluation text.
    around : array
        Longer, with a whole evaluation text in it.
    within : array
        Shorter, and a part of an evaluation text.
    """

    equal: NDArray[np.bool_]
    around: NDArray[np.bool_]
    within: NDArray[np.bool_]

    @property
    def any(self) -> NDArray[np.bool_]:
        """All that overlap."""
        return self.equal | self.around | self.within


def letters(text: str) -> str:
    """Letters and digits of a text, without case and accents: what is left of it however it was split.

    Corpora of the same sentences differ in spaces ("it 's"), quotes, dashes, brackets (-LRB-) and case.
    """
    plain = unicodedata.normalize("NFKD", _BRACKETS.sub(" ", text)).casefold()
    return _OTHER.sub("", plain)


def overlap(training: Iterable[str], evaluation: Iterable[str]) -> Overlap:
    """Compare training texts with all evaluation texts by their letters.

    Texts shorter than SHORTEST letters are compared for equality only: they stand in others by chance.

    Parameters
    ----------
    training : iterable of N str
        Texts to learn from.
    evaluation : iterable of str
        Texts to be judged on.
    """
    known = _Known({letters(text) for text in evaluation} - {""})
    found = [_compare(letters(text), known) for text in training]
    return Overlap(*np.array(found, dtype=bool).reshape(-1, 3).T)


class _Known:
    """Letters of evaluation texts, ready for looking up."""

    def __init__(self, texts: set[str]) -> None:
        self.texts = texts
        long = sorted(text for text in texts if len(text) >= SHORTEST)
        self.joined = " ".join(long)
        self.blocks: dict[str, list[tuple[int, str]]] = {}
        for text in long:
            for place in range(BLOCK):
                self.blocks.setdefault(text[place : place + BLOCK], []).append((place, text))


def _compare(text: str, known: _Known) -> tuple[bool, bool, bool]:
    if text in known.texts:
        return True, False, False
    around = any(
        text.startswith(other, place - before)
        for place in range(0, len(text), BLOCK)
        for before, other in known.blocks.get(text[place : place + BLOCK], ())
        if place >= before
    )
    return False, around, len(text) >= SHORTEST and text in known.joined


def without_overlap(training: pd.DataFrame, evaluation: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Leave out training examples that overlap with evaluation examples, text with text and pair with pair.

    The two texts of a pair may stand in either order.

    Parameters
    ----------
    training, evaluation : DataFrame
        text, pair, label.

    Returns
    -------
    DataFrame
        The training examples that are left.
    dict
        Counts: those left out because they equal one, hold one, or are a part of one.
    """
    pairs = evaluation[evaluation["pair"].notna()]
    swapped = [f"{pair} {text}" for text, pair in zip(pairs["text"], pairs["pair"], strict=True)]
    found = overlap(_whole(training), [*_whole(evaluation), *swapped])
    counts = {name: int(getattr(found, name).sum()) for name in found._fields}
    return training[~found.any].reset_index(drop=True), counts


def _whole(table: pd.DataFrame) -> pd.Series:
    return table["text"] + " " + table["pair"].fillna("")
