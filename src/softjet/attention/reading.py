"""Jets for the statistics of attention: read a row group at a time, in batches of near-equal length."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from softjet.attention.sample import identities, particle_lists, prongs_of, subjets
from softjet.config.part import ParTModel
from softjet.jets.features import particles
from softjet.jets.schema import table_facts

TOGETHER = 8
"""One jet in this many stands in batches of its own. Statistics that look at one in 8, 16, ... find all of
theirs there, and need not pick a few out of every batch."""


@dataclass(frozen=True)
class Jets:
    """A batch of B jets of up to P particles: what the model reads, and what else is known of them.

    Attributes
    ----------
    features, vectors, mask : (B, F, P), (B, 4, P) in GeV, (B, 1, P) bool
        Inputs of the model. Particles stand in falling pT.
    label, key : (B,) int64, (B,) uint64
        Class; a number made of source file and entry alone, from which all that is random about a jet comes.
    classes : tuple of str
        Names of the classes.
    """

    features: Tensor
    vectors: Tensor
    mask: Tensor
    label: NDArray[np.int64]
    key: NDArray[np.uint64]
    classes: tuple[str, ...]
    _group: pa.Table
    _rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)

    @cached_property
    def table(self) -> pa.Table:
        """Rows of the jet table."""
        return self._group.take(self._rows)

    @cached_property
    def real(self) -> Tensor:
        """Real particles, bool (B, P)."""
        return self.mask[:, 0]

    @cached_property
    def padding(self) -> Tensor | None:
        """Where no particle is, bool (B, 1, P); None where every jet has as many."""
        return None if bool(self.real.all()) else ~self.real[:, None]

    @cached_property
    def n(self) -> Tensor:
        """Particles of each jet, int64 (B,)."""
        return self.real.sum(1)

    @cached_property
    def subjet(self) -> Tensor:
        """Exclusive kT subjet of each particle, int64 (B, P), by `softjet.attention.sample.subjets`."""
        prongs = prongs_of(self.classes)[self.label]
        found = subjets(self.vectors.cpu().numpy(), prongs, self.real.cpu().numpy())
        return torch.from_numpy(found).long().to(self.mask.device)

    @cached_property
    def identity(self) -> Tensor:
        """Place in softjet.jets.schema.IDENTITIES of each particle, int64 (B, P), -1 where unknown."""
        found = identities(self.table, self.real.cpu().numpy())
        return torch.from_numpy(found).long().to(self.mask.device)

    def column(self, name: str) -> Tensor:
        """A list column of the jet table, (B, P); 0 at padding."""
        values = particle_lists(self.table, name, self.real.cpu().numpy())
        return torch.from_numpy(values).to(self.mask.device)

    def take(self, places: NDArray[np.int64]) -> "Jets":
        """Some jets of the batch."""
        rows = torch.from_numpy(places).to(self.features.device)
        inputs = {name: getattr(self, name)[rows] for name in ("features", "vectors", "mask")}
        known = {name: getattr(self, name)[places] for name in ("label", "key", "_rows")}
        return replace(self, **inputs, **known)

    def to(self, device: torch.device) -> "Jets":
        """The batch with the model's inputs on a device."""
        return replace(
            self, **{name: getattr(self, name).to(device) for name in ("features", "vectors", "mask")}
        )


class JetReader:
    """Jets of some files in batches of near-equal length; memory holds a row group.

    Iterate over it to get them, as often as wanted.

    Parameters
    ----------
    paths : sequence of path
        Jet tables (Parquet).
    jets : int
        Jets in all at most; each class gets jets / classes, or what it has.
    seed : int
        Chooses the jets where a class has more.
    shape : ParTModel
        Shape of the model: its feature set, and how many particles it sees.
    batch_size : int
        Jets at a time.

    Attributes
    ----------
    n_jets : int
        Jets that it gives.
    """

    def __init__(
        self, paths: Sequence[str | Path], jets: int, seed: int, shape: ParTModel, batch_size: int
    ) -> None:
        self.shape, self.batch_size = shape, batch_size
        labels = [pq.read_table(path, columns=["label"])["label"].to_numpy() for path in paths]
        self._chosen = dict(zip(paths, choose(labels, jets, seed), strict=True))
        self.n_jets = sum(map(len, self._chosen.values()))

    def __iter__(self) -> Iterator[Jets]:
        for group, classes in self._row_groups():
            inputs = particles(group, self.shape.features, self.shape.max_particles)
            key, label = _keys(group), group["label"].to_numpy().astype(np.int64)
            for rows in self._batches(inputs.lengths, key):
                features, vectors, mask = map(torch.from_numpy, inputs.pad(rows))
                yield Jets(features, vectors, mask, label[rows], key[rows], classes, group, rows)

    def _batches(self, lengths: NDArray[np.int64], key: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
        """Jets from long to short; those that few statistics look at stand in batches of their own."""
        looked_at = chosen(key, TOGETHER)
        for part in (np.flatnonzero(looked_at), np.flatnonzero(~looked_at)):
            # Long ones first, so that no core is left with one at the end.
            order = part[np.argsort(-lengths[part], kind="stable")]
            yield from (order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size))

    def _row_groups(self) -> Iterator[tuple[pa.Table, tuple[str, ...]]]:
        """Chosen jets of each row group that has any, and the names of the classes."""
        for path, rows in self._chosen.items():
            with pq.ParquetFile(path) as file:
                classes, last = table_facts(file.schema_arrow, path).classes, 0
                for index in range(file.num_row_groups):
                    first, last = last, last + file.metadata.row_group(index).num_rows
                    wanted = rows[(rows >= first) & (rows < last)] - first
                    if len(wanted):
                        yield file.read_row_group(index).take(wanted), classes


def choose(labels: Sequence[NDArray[np.int8]], jets: int, seed: int) -> list[NDArray[np.int64]]:
    """Rows of each file, rising: of each class jets / classes drawn without replacement, or all it has.

    Parameters
    ----------
    labels : sequence of (rows,) int8
        Classes of the jets of each file.
    jets, seed
        As of `JetReader`.
    """
    label = np.concatenate(labels)
    classes, generator = np.unique(label), np.random.default_rng(seed)
    each = max(1, jets // max(1, len(classes)))
    rows = [generator.permutation(np.flatnonzero(label == one))[:each] for one in classes]
    ends = np.cumsum([len(part) for part in labels])
    drawn = np.sort(np.concatenate(rows))
    parts = np.split(drawn, np.searchsorted(drawn, ends[:-1]))
    return [part - (end - len(own)) for part, end, own in zip(parts, ends, labels, strict=True)]


def chosen(key: NDArray[np.uint64], every: int) -> NDArray[np.bool_]:
    """Which jets a statistic sees that looks at one in `every`, by their keys alone."""
    return mixed(key) % np.uint64(every) == 0


def _keys(table: pa.Table) -> NDArray[np.uint64]:
    """A number for each jet, made of the name of its source file and its entry there."""
    coded = table["source"].combine_chunks()
    names = coded.dictionary.to_pylist()
    hashed = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") for name in names]
    of_source = np.array(hashed, np.uint64)[coded.indices.to_numpy()]
    return mixed(of_source ^ mixed(table["entry"].to_numpy().astype(np.uint64)))


def mixed(number: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers that look random, one for each: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    number = number + np.uint64(0x9E3779B97F4A7C15)
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))
