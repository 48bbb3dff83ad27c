"""The jets that interventions are made on, their subjets, and the jets that give them their attention."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from softjet.attention.intervene import find_donors
from softjet.config.interventions import Interventions
from softjet.config.part import ParTModel
from softjet.jets.features import Particles, particles
from softjet.jets.substructure import exclusive_subjets


class Sample(NamedTuple):
    """Jets to intervene on, first of a pool, with their subjets and donors.

    jets : how many are intervened on. inputs : of the whole pool. label, subjet : of the pool's jets, (pool,)
    and of their particles end to end. donors : place in the pool of a donor of the same class and of one of
    another, (jets,) each; -1 for none.
    """

    jets: int
    inputs: Particles
    label: NDArray[np.int64]
    subjet: NDArray[np.int64]
    donors: dict[str, NDArray[np.int64]]

    def subjets(self, rows: NDArray[np.int64], real: Tensor) -> Tensor:
        """Subjets of the particles of some jets, int64 (B, P) where `real`; -1 at padding."""
        ends = np.cumsum(self.inputs.lengths)
        pieces = [self.subjet[ends[row] - self.inputs.lengths[row] : ends[row]] for row in rows]
        found = torch.full(real.shape, -1)
        return found.masked_scatter(real, torch.from_numpy(np.concatenate(pieces)))


def sample_of(pool: pa.Table, shape: ParTModel, settings: Interventions) -> Sample:
    """Inputs, subjets and donors of the jets to intervene on.

    Parameters
    ----------
    pool : Table
        `settings.donors` jets by `softjet.attention.sample.draw_sample`, of which the first `settings.jets`
        are intervened on.
    shape : ParTModel
        Of the network.
    settings : Interventions
    """
    sample = sample_without_donors(pool, shape, settings)
    jets = min(settings.jets, len(pool))
    donors = {
        name: find_donors(sample.inputs.lengths, sample.label, jets, same, settings.seed)
        for name, same in (("patch_same", True), ("patch_other", False))
    }
    return sample._replace(jets=jets, donors=donors)


def sample_without_donors(jets: pa.Table, shape: ParTModel, settings: Interventions) -> Sample:
    """Inputs and subjets of jets, all to be intervened on.

    Parameters
    ----------
    jets : Table
    shape, settings
        As of `sample_of`.
    """
    inputs = particles(jets, shape.features, shape.max_particles)
    offsets = np.concatenate([[0], np.cumsum(inputs.lengths)])
    subjet = exclusive_subjets(inputs.vectors.astype(np.float64), offsets, settings.subjets)
    return Sample(len(jets), inputs, jets["label"].to_numpy().astype(np.int64), subjet, {})


def padded(jets: Particles, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs of the model for some jets: features (B, F, P), vectors (B, 4, P) in GeV, mask (B, 1, P)."""
    features, vectors, mask = map(torch.from_numpy, jets.pad(rows))
    return features, vectors, mask
