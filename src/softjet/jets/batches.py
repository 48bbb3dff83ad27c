"""Batches of jets for training and evaluation, from Parquet files, in bounded memory.

A *pool* is a run of consecutive row groups of about `POOL` jets. Jets of like length stand in one batch,
so that little of a batch is padding. Which jets a training step sees follows from seed and step alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from softjet.config.part import ParTModel
from softjet.errors import InputError
from softjet.jets.features import Kind, Particles, particles

POOL = 20_000
"""Jets a pool, about; some hundred batches to sort by length, and 80 MB."""

KEPT = 1_000_000_000
"""Bytes of pools that stay in memory between epochs."""

_COLUMNS_UNUSED = ("jet_sdmass", "jet_tau", "truth_", "source", "entry")


@dataclass(frozen=True)
class Batch:
    """Some jets as the model reads them.

    features (B, F, P) and vectors (B, 4, P, in GeV) are float32, mask (B, 1, P) is bool, labels (B,) and
    rows (B,) are int64. P is the length of the batch's longest jet. A row is a jet's place in the files,
    counted through all of them in their order.
    """

    features: torch.Tensor
    vectors: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    rows: torch.Tensor


@dataclass(frozen=True)
class _RowGroup:
    path: Path
    index: int
    jets: int


class JetLoader:
    """Batches of the jets in Parquet files.

    Parameters
    ----------
    paths : iterable of paths
        Files of one split, written by `softjet.jets.convert`: every file mixes the classes.
    features : {"kin", "kinpid", "full"}
        Feature set.
    batch_size : int
        Most jets a batch.
    seed : int
        Seed of the order in training.
    max_particles : int
        Hardest particles that are kept of a jet.
    pool : int
        Jets a pool, about.

    Raises
    ------
    InputError
        Where the files hold fewer than two jets, or a file is not a jet table.
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        features: Kind,
        batch_size: int,
        seed: int,
        max_particles: int = 128,
        pool: int = POOL,
    ) -> None:
        self.features, self.batch_size, self.seed, self.max_particles = (
            features,
            batch_size,
            seed,
            max_particles,
        )
        files = [Path(path) for path in paths]
        self._pools = _pools([group for file in files for group in _row_groups(file)], pool)
        sizes = [sum(group.jets for group in groups) for groups in self._pools]
        self._first_row = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        # Batch normalisation needs two jets a batch.
        self._steps = [max(1, min(-(-size // batch_size), size // 2)) for size in sizes]
        self._kept: dict[int, tuple[Particles, NDArray[np.int64]]] = {}
        if self.n_jets < 2:
            raise InputError(", ".join(map(str, files)), "jets", "fewer than two; give more jets")

    @classmethod
    def for_model(
        cls, paths: Iterable[str | Path], shape: ParTModel, batch_size: int, seed: int = 0
    ) -> "JetLoader":
        """Loader of what a model of this shape reads: its feature set, and as many particles as it sees."""
        return cls(paths, shape.features, batch_size, seed, shape.max_particles)

    @property
    def n_jets(self) -> int:
        """Jets in all files."""
        return int(self._first_row[-1])

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which every jet stands once."""
        return sum(self._steps)

    def training(self, start_step: int = 0) -> Iterator[Batch]:
        """Batches without end, in random order; every epoch holds each jet once.

        Jets of a pool are shuffled, sorted by length and cut into batches of equal size (give or take
        one jet), so that no batch is much smaller than the others; pools and their batches come in
        random order, new in every epoch.

        Parameters
        ----------
        start_step : int
            Step to begin with; the batches are those that an unbroken run gives from there on.

        Yields
        ------
        Batch
            Of at most `batch_size` jets.
        """
        epoch, skip = divmod(start_step, self.steps_per_epoch)
        while True:
            for pool in self._generator(epoch).permutation(len(self._pools)).tolist():
                if skip < self._steps[pool]:
                    yield from self._training_batches(epoch, pool, skip)
                skip = max(0, skip - self._steps[pool])
            epoch += 1

    def evaluation(self) -> Iterator[Batch]:
        """Every jet once, pool by pool, from short to long.

        Yields
        ------
        Batch
            Of `batch_size` jets; the last of a pool may be smaller.
        """
        for pool in range(len(self._pools)):
            inputs, labels = self._load(pool)
            by_length = np.argsort(inputs.lengths, kind="stable")
            for jets in np.split(by_length, range(self.batch_size, len(by_length), self.batch_size)):
                yield self._batch(pool, inputs, labels, jets)

    def _generator(self, *place: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *place])

    def _training_batches(self, epoch: int, pool: int, skip: int) -> Iterator[Batch]:
        inputs, labels = self._load(pool)
        generator = self._generator(epoch, 1 + pool)
        shuffled = generator.permutation(len(labels))
        by_length = shuffled[np.argsort(inputs.lengths[shuffled], kind="stable")]
        batches = np.array_split(by_length, self._steps[pool])
        for place in generator.permutation(len(batches))[skip:].tolist():
            yield self._batch(pool, inputs, labels, batches[place])

    def _batch(
        self, pool: int, inputs: Particles, labels: NDArray[np.int64], jets: NDArray[np.int64]
    ) -> Batch:
        features, vectors, mask = inputs.pad(jets)
        arrays = (features, vectors, mask, labels[jets], self._first_row[pool] + jets)
        return Batch(*map(torch.from_numpy, arrays))

    def _load(self, pool: int) -> tuple[Particles, NDArray[np.int64]]:
        """Inputs and labels of a pool; kept for the next epoch while memory allows."""
        if pool in self._kept:
            return self._kept[pool]
        table = pa.concat_tables(map(_read, self._pools[pool]))
        inputs = particles(table, self.features, self.max_particles)
        loaded = inputs, table["label"].to_numpy().astype(np.int64)
        if inputs.nbytes * len(self._pools) <= KEPT:
            self._kept[pool] = loaded
        return loaded


def _row_groups(path: Path) -> list[_RowGroup]:
    try:
        metadata = pq.read_metadata(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(path, "jets", "not a Parquet file of jets; convert again") from error
    return [_RowGroup(path, i, metadata.row_group(i).num_rows) for i in range(metadata.num_row_groups)]


def _read(group: _RowGroup) -> pa.Table:
    file = pq.ParquetFile(group.path)
    columns = [name for name in file.schema_arrow.names if not name.startswith(_COLUMNS_UNUSED)]
    return file.read_row_group(group.index, columns)


def _pools(groups: list[_RowGroup], size: int) -> list[list[_RowGroup]]:
    """Cut the row groups into runs of at least `size` jets; what remains joins the last run."""
    pools: list[list[_RowGroup]] = [[]]
    for group in groups:
        if sum(member.jets for member in pools[-1]) >= size:
            pools.append([])
        pools[-1].append(group)
    if len(pools) > 1 and sum(member.jets for member in pools[-1]) < size:
        rest = pools.pop()
        pools[-1] += rest
    return pools
