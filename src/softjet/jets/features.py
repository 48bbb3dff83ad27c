"""What Particle Transformer reads of a jet: features, four-vectors and the mask of real particles.

Transformations and their constants are those of the published model (arXiv 2202.03772, table 2, and the
data configurations published with it): (x - subtract) * multiply, clipped to [-5, 5]; displacements by tanh.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from softjet.errors import InputError
from softjet.jets.schema import IDENTITIES, PARTICLE_ID
from softjet.jets.tables import MOMENTUM, list_lengths, list_values, order_by_pt

Kind = Literal["kin", "kinpid", "kinpidplus", "full"]
Floats = NDArray[np.float32]

STANDARD = {
    "pt_log": (1.7, 0.7),
    "e_log": (2.0, 0.7),
    "logptrel": (-4.7, 0.7),
    "logerel": (-4.7, 0.7),
    "deltaR": (0.2, 4.0),
}
"""Subtracted and multiplied constants."""

CLIP = 5.0

KINEMATICS = (*STANDARD,)
ANGLES = ("deta", "dphi")
PARTICLE_TYPE = ("charge", *(name.removeprefix("part_") for name in IDENTITIES))
DISPLACEMENTS = ("d0", "d0err", "dz", "dzerr")

HADRON_WEIGHTS = {"isCHad": {211: 1.0, 321: 0.5, 2212: 0.2}, "isNHad": {130: 1.0, 2112: 0.2}}
"""In `kinpidplus`, what a hadron of each PDG identity (of either sign) counts."""

FEATURES: dict[str, tuple[str, ...]] = {
    "kin": (*KINEMATICS, *ANGLES),
    "kinpid": (*KINEMATICS, *PARTICLE_TYPE, *ANGLES),
    "kinpidplus": (*KINEMATICS, "charge", *HADRON_WEIGHTS, *PARTICLE_TYPE[3:], *ANGLES),
    "full": (*KINEMATICS, *PARTICLE_TYPE, *DISPLACEMENTS, *ANGLES),
}
"""Names of the features of each set, in the order of the published models' inputs."""

_KIN = ("jet_pt", "jet_energy", *MOMENTUM, "part_deta", "part_dphi")
_PID = ("part_charge", *IDENTITIES)
COLUMNS_NEEDED: dict[str, tuple[str, ...]] = {
    "kin": _KIN,
    "kinpid": (*_KIN, *_PID),
    "kinpidplus": (*_KIN, *_PID, PARTICLE_ID),
    "full": (*_KIN, *_PID, "part_d0val", "part_d0err", "part_dzval", "part_dzerr"),
}
"""Columns of the jet table that each set is made from."""


def check_features(columns: Collection[str], features: Kind, where: object) -> None:
    """Raise unless a table with these columns can give a feature set.

    Parameters
    ----------
    columns : collection of str
        Names of the table's or file's columns.
    features : {"kin", "kinpid", "kinpidplus", "full"}
        Feature set.
    where : object
        File that the error names.

    Raises
    ------
    InputError
        It names the first column that is missing and the sets that the columns can give.
    """
    missing = [name for name in COLUMNS_NEEDED[features] if name not in columns]
    if missing:
        possible = [kind for kind, needed in COLUMNS_NEEDED.items() if set(needed) <= set(columns)]
        offer = f"it can give {' or '.join(possible)}" if possible else "it can give no feature set"
        raise InputError(where, missing[0], f"is missing, but the features {features!r} need it; {offer}")


@dataclass(frozen=True)
class Particles:
    """Model inputs of many jets, particles end to end: features (n, F), vectors (n, 4), lengths (jets,)."""

    features: Floats
    vectors: Floats
    lengths: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.features.nbytes + self.vectors.nbytes + self.lengths.nbytes

    def pad(self, jets: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Give the chosen jets as padded arrays.

        Parameters
        ----------
        jets : (B,) int64 array
            Places of the jets.

        Returns
        -------
        features : (B, F, P) float32 array
            P is the length of the longest of these jets; zero beyond a jet's own particles.
        vectors : (B, 4, P) float32 array
            px, py, pz, energy in GeV, likewise.
        mask : (B, 1, P) bool array
            True for real particles.
        """
        lengths = self.lengths[jets]
        longest = np.arange(lengths.max(initial=1))
        mask = longest < lengths[:, None]
        first = np.cumsum(self.lengths)[jets] - lengths
        particles = (first[:, None] + longest)[mask]
        return _fill(self.features[particles], mask), _fill(self.vectors[particles], mask), mask[:, None]


def model_inputs(
    table: pa.Table, features: Kind, max_particles: int = 128
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Features, four-vectors and mask of all jets of a table.

    Parameters
    ----------
    table : pyarrow.Table
        Jets in the schema of `softjet.jets.schema`.
    features : {"kin", "kinpid", "kinpidplus", "full"}
        Feature set: F = 7, 13, 13 or 17, named in `FEATURES`.
    max_particles : int
        Particles of a jet that are kept, hardest in pT first.

    Returns
    -------
    features : (B, F, P) float32 array
        P is the length of the longest jet, at most `max_particles`; padding is zero.
    vectors : (B, 4, P) float32 array
        px, py, pz, energy in GeV; padding is zero.
    mask : (B, 1, P) bool array
        True for real particles. Particles stand in falling pT, as in a converted table.

    Raises
    ------
    InputError
        Where the table lacks a column that the feature set needs.
    """
    return particles(table, features, max_particles).pad(np.arange(len(table)))


def particles(table: pa.Table, features: Kind, max_particles: int = 128) -> Particles:
    """Inputs of `model_inputs` without padding, from which batches are padded fast.

    Parameters
    ----------
    table, features, max_particles
        As in `model_inputs`.

    Returns
    -------
    Particles
        Of all jets, end to end.
    """
    check_features(table.column_names, features, _source(table))
    lengths = list_lengths(table, MOMENTUM[0])
    rank = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kept = order_by_pt(table)[rank < max_particles]
    values = _feature_values(table, lengths, features)
    stacked = np.stack([values[name][kept] for name in FEATURES[features]], axis=1)
    vectors = np.stack([list_values(table, name)[kept] for name in MOMENTUM], axis=1)
    return Particles(stacked.astype(np.float32), vectors, np.minimum(lengths, max_particles))


def _source(table: pa.Table) -> str:
    """What an error names: the file that the first jet comes from, if the table says so."""
    known = "source" in table.column_names and len(table)
    return table["source"][0].as_py() if known else "jet table"


def _feature_values(table: pa.Table, lengths: NDArray[np.int64], kind: Kind) -> dict[str, NDArray]:
    values = _kinematics(table, lengths)
    if kind != "kin":
        values |= {name: _float_values(table, f"part_{name}") for name in PARTICLE_TYPE}
    if kind == "kinpidplus":
        values |= _hadrons(np.abs(list_values(table, PARTICLE_ID)))
    if kind == "full":
        values |= _displacements(table)
    return values


def _hadrons(pid: NDArray) -> dict[str, NDArray]:
    return {
        name: sum((weight * (pid == number) for number, weight in weights.items()), np.zeros(len(pid)))
        for name, weights in HADRON_WEIGHTS.items()
    }


def _kinematics(table: pa.Table, lengths: NDArray[np.int64]) -> dict[str, NDArray]:
    px, py, energy = (_float_values(table, f"part_{name}") for name in ("px", "py", "energy"))
    deta, dphi = (_float_values(table, f"part_{name}") for name in ANGLES)
    jet_pt, jet_energy = (np.repeat(table[f"jet_{name}"].to_numpy(), lengths) for name in ("pt", "energy"))
    pt = np.hypot(px, py)
    # A momentum of zero has the logarithm minus infinity, which the clip brings to -5.
    with np.errstate(divide="ignore"):
        raw = {
            "pt_log": np.log(pt),
            "e_log": np.log(energy),
            "logptrel": np.log(pt / jet_pt),
            "logerel": np.log(energy / jet_energy),
            "deltaR": np.hypot(deta, dphi),
        }
    standard = {
        name: np.clip((raw[name] - subtract) * multiply, -CLIP, CLIP)
        for name, (subtract, multiply) in STANDARD.items()
    }
    return standard | {"deta": deta, "dphi": dphi}


def _displacements(table: pa.Table) -> dict[str, NDArray]:
    values = {name: np.tanh(_float_values(table, f"part_{name}val")) for name in ("d0", "dz")}
    errors = {name: np.clip(_float_values(table, f"part_{name}"), 0, 1) for name in ("d0err", "dzerr")}
    return values | errors


def _float_values(table: pa.Table, name: str) -> Floats:
    return list_values(table, name).astype(np.float32)


def _fill(values: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Put values (n, C) where the mask (B, P) is true of an array (B, C, P), zeros elsewhere."""
    padded = np.zeros((*mask.shape, values.shape[1]), np.float32)
    padded[mask] = values
    return np.ascontiguousarray(padded.transpose(0, 2, 1))
