"""Jets of some row groups in memory, and batches of them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from softjet.errors import InputError
from softjet.jets.features import COLUMNS_NEEDED, Kind, Particles, particles
from softjet.jets.row_groups import RowGroup

Places = NDArray[np.int64]
"""Places of jets in a pool."""

Share = tuple[int, int]
"""A process's place and the number of processes (rank, world)."""


@dataclass(frozen=True)
class Batch:
    """Some jets as the model reads them.

    features (B, F, P) and vectors (B, 4, P, in GeV) are float32, mask (B, 1, P) is bool, labels (B,) and
    rows (B,) are int64. P is the length of the batch's longest jet. A row is a jet's place in the files,
    counted through all of them in their order. Jets stand from short to long.
    """

    features: torch.Tensor
    vectors: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    rows: torch.Tensor

    def piece(self, share: Share) -> "Batch":
        """Every world-th jet from the rank-th on, as `JetLoader.training` with this share gives them.

        Parameters
        ----------
        share : pair of int
            Rank and world.

        Raises
        ------
        InputError
            Where a piece would have fewer than two jets.
        """
        rank, world = share
        check_pieces(len(self.labels), world)
        longest = int(self.mask[rank::world].sum(dim=2).max())
        features, vectors, mask = (
            tensor[rank::world, :, :longest].contiguous()
            for tensor in (self.features, self.vectors, self.mask)
        )
        return Batch(features, vectors, mask, self.labels[rank::world], self.rows[rank::world])


def check_pieces(jets: int, world: int) -> None:
    """Raise unless each of `world` pieces of a batch has the two jets that batch normalisation needs."""
    if jets < 2 * world:
        problem = f"{jets} jets are too few for {world} pieces of two; raise it or cut it into fewer pieces"
        raise InputError("training", "batch_size", problem)


@dataclass(frozen=True)
class JetGroup:
    """Jets of one row group."""

    inputs: Particles
    labels: Places
    rows: Places


class Pool:
    """Jets of some row groups, of which batches are made without copying the row groups together.

    Attributes
    ----------
    lengths : (jets,) int64 array
        Particles of each jet.
    """

    def __init__(self, parts: list[JetGroup]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part.labels) for part in parts])
        self._first = [np.cumsum(part.inputs.lengths) - part.inputs.lengths for part in parts]
        self.lengths = np.concatenate([part.inputs.lengths for part in parts])

    def batch(self, jets: Places) -> Batch:
        """Jets at these places of the pool."""
        longest = np.arange(self.lengths[jets].max())
        mask = longest < self.lengths[jets][:, None]
        features, vectors = (np.zeros((*mask.shape, n), np.float32) for n in self._widths())
        labels, rows = (np.empty(len(jets), np.int64) for _ in range(2))
        holder = np.searchsorted(self._ends, jets, side="right")
        for i in np.unique(holder).tolist():
            part, here = self._parts[i], holder == i
            own = jets[here] - (self._ends[i] - len(part.labels))
            labels[here], rows[here] = part.labels[own], part.rows[own]
            held, taken = mask & here[:, None], (self._first[i][own][:, None] + longest)[mask[here]]
            features[held], vectors[held] = part.inputs.features[taken], part.inputs.vectors[taken]
        # NumPy turns them, since torch would wake its own threads beside those of the training.
        turned = (np.ascontiguousarray(a.transpose(0, 2, 1)) for a in (features, vectors))
        return Batch(*map(torch.from_numpy, (*turned, mask[:, None], labels, rows)))

    def _widths(self) -> tuple[int, int]:
        inputs = self._parts[0].inputs
        return inputs.features.shape[1], inputs.vectors.shape[1]


def read_group(group: RowGroup, features: Kind, max_particles: int) -> JetGroup:
    """Read the jets of a row group as the model sees them.

    Parameters
    ----------
    group : RowGroup
        What to read.
    features : {"kin", "kinpid", "kinpidplus", "full"}
        Feature set.
    max_particles : int
        Hardest particles that are kept of a jet.

    Raises
    ------
    InputError
        Where the file cannot be read.
    """
    try:
        with pq.ParquetFile(group.path) as file:
            table = file.read_row_group(group.index, ["label", *COLUMNS_NEEDED[features]])
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(group.path, f"row group {group.index}", "cannot be read; convert again") from error
    chosen = group.chosen()
    if group.jets < group.stored:
        table = table.take(chosen)
    inputs = particles(table, features, max_particles)
    return JetGroup(inputs, table["label"].to_numpy().astype(np.int64), group.first_row + chosen)
