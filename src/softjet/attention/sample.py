"""The jets whose attention is recorded: equally many of each class, and what is known of their particles."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from softjet.jets.schema import IDENTITIES
from softjet.jets.substructure import exclusive_subjets
from softjet.jets.tables import list_lengths, list_values, order_by_pt
from softjet.part.rejection import background_of

log = logging.getLogger("softjet")

PRONGS = {
    "QCD": 1, "Hbb": 2, "Hcc": 2, "Hgg": 2, "H4q": 4, "Hqql": 3, "Zqq": 2, "Wqq": 2, "Tbqq": 3, "Tbl": 2,
    "Top": 3, "quark": 1, "gluon": 1,
}  # fmt: skip
"""Subjets that a jet of each class is split into: the prongs of its decay, neutrinos not counted."""


def prongs_of(classes: Sequence[str]) -> NDArray[np.int64]:
    """Subjets that a jet of each class is split into; two where `PRONGS` does not know the class."""
    return np.array([PRONGS.get(name, 2) for name in classes])


def draw_sample(paths: Sequence[str | Path], jets: int, seed: int) -> pa.Table:
    """Draw equally many jets of each class.

    Parameters
    ----------
    paths : sequence of path
        Jet tables (Parquet).
    jets : int
        Jets in all; each class gets jets / classes, or what the smallest class has.
    seed : int
        Of the draw.

    Returns
    -------
    Table
        Jets in which classes take turns, so that the first few jets are balanced too.
    """
    labels = _labels(paths)
    return _read(paths, labels, _balanced(np.concatenate(labels), jets, seed))


def draw_background(
    paths: Sequence[str | Path], classes: Sequence[str], sample: pa.Table, jets: int, seed: int
) -> pa.Table:
    """Draw jets of the background that are not in a sample, for its rejections.

    Parameters
    ----------
    paths, seed
        Those that `draw_sample` drew the sample with.
    classes : sequence of str
        Names of the classes; without one that the field rejects there is nothing to draw.
    sample : Table
        By `draw_sample`.
    jets : int
        Jets at most.
    """
    labels, name = _labels(paths), background_of(classes)
    if name is None:
        return _read(paths, labels, np.zeros(0, np.int64))
    background = list(classes).index(name)
    rows = _shuffled(np.concatenate(labels), seed).get(background, np.zeros(0, np.int64))
    taken = int((sample["label"].to_numpy() == background).sum())
    return _read(paths, labels, rows[taken : taken + jets])


def _labels(paths: Sequence[str | Path]) -> list[NDArray[np.int8]]:
    """Classes of the jets of each file."""
    return [pq.read_table(path, columns=["label"])["label"].to_numpy() for path in paths]


def _shuffled(label: NDArray[np.int8], seed: int) -> dict[int, NDArray[np.int64]]:
    """Rows of each class in the order in which they are drawn."""
    generator = np.random.default_rng(seed)
    return {int(one): generator.permutation(np.flatnonzero(label == one)) for one in np.unique(label)}


def _balanced(label: NDArray[np.int8], jets: int, seed: int) -> NDArray[np.int64]:
    """Rows drawn without replacement, classes taking turns."""
    rows = _shuffled(label, seed).values()
    each, fewest = max(1, jets // len(rows)), min(map(len, rows))
    if fewest < each:
        log.warning("attention: %d jets a class instead of %d: that is all one class has", fewest, each)
    return np.stack([one[: min(each, fewest)] for one in rows], axis=1).ravel()


def _read(
    paths: Sequence[str | Path], labels: Sequence[NDArray[np.int8]], chosen: NDArray[np.int64]
) -> pa.Table:
    """Rows of files taken as one, in the order in which they are chosen."""
    first = np.cumsum([0, *map(len, labels)])
    parts = [
        _read_rows(path, chosen[(chosen >= a) & (chosen < b)] - a)
        for path, a, b in zip(paths, first[:-1], first[1:], strict=True)
    ]
    # The parts hold the chosen jets in rising order; put them back in the order of the draw.
    return pa.concat_tables(parts).take(np.argsort(np.argsort(chosen)))


def _read_rows(path: str | Path, rows: NDArray[np.int64]) -> pa.Table:
    """Rows of a Parquet file, in rising order, read a row group at a time."""
    with pq.ParquetFile(path) as file:
        parts, first = [file.schema_arrow.empty_table()], 0
        for group in range(file.num_row_groups):
            last = first + file.metadata.row_group(group).num_rows
            wanted = np.sort(rows[(rows >= first) & (rows < last)]) - first
            if len(wanted):
                parts.append(file.read_row_group(group).take(wanted))
            first = last
    return pa.concat_tables(parts).unify_dictionaries()


def particle_lists(table: pa.Table, column: str, real: NDArray[np.bool_]) -> NDArray:
    """A list column as an array (B, P), in falling pT as the model's inputs; 0 where not `real` (B, P)."""
    lengths = list_lengths(table, column)
    rank = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    values = list_values(table, column)[order_by_pt(table)[rank < real.shape[1]]]
    padded = np.zeros(real.shape, values.dtype)
    padded[real] = values
    return padded


def identities(table: pa.Table, real: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Place of each particle's identity in softjet.jets.schema.IDENTITIES, (B, P); -1 where none is known."""
    found = np.full(real.shape, -1, np.int8)
    for place, column in enumerate(IDENTITIES):
        if column in table.column_names:
            found[particle_lists(table, column, real)] = place
    return found


def subjets(
    vectors: NDArray[np.float32], prongs: NDArray[np.int64], real: NDArray[np.bool_]
) -> NDArray[np.int8]:
    """Exclusive kT subjet of each particle: as many subjets as the decay of its class has prongs.

    Parameters
    ----------
    vectors : (B, 4, P)
        px, py, pz, E in GeV.
    prongs : (B,)
        Subjets of each jet, by `prongs_of`.
    real : (B, P) bool
        Real particles.

    Returns
    -------
    (B, P)
        0 for the hardest subjet; -1 at padding.
    """
    found = np.full(real.shape, -1, np.int8)
    for number in np.unique(prongs):
        these = real & (prongs == number)[:, None]
        momenta = np.ascontiguousarray(vectors.transpose(0, 2, 1)[these], np.float64)
        lengths = these.sum(1)[prongs == number]
        found[these] = exclusive_subjets(momenta, np.append(0, np.cumsum(lengths)), int(number))
    return found
