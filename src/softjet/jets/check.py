"""Find jets that no model should learn from, and say why."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from softjet.errors import InputError
from softjet.jets.readers.pieces import NO_LABEL
from softjet.jets.schema import PARTICLE_COLUMNS, TRUTH_PRONGS
from softjet.jets.tables import list_lengths, list_values, particle_columns

JET_MOMENTUM = ("jet_pt", "jet_eta", "jet_phi", "jet_energy")

Fault = tuple[NDArray[np.bool_], str, str]
"""The jets that have it, (jets,), the field at fault and what is wrong."""


@dataclass(frozen=True)
class BadJet:
    """A jet that is not sound: its row in the table, the field at fault and what is wrong with it."""

    row: int
    field: str
    problem: str


def find_bad_jets(table: pa.Table) -> list[BadJet]:
    """Jets whose label, particle lists or momenta are not sound; of each, the first fault found.

    Only what a model reads is checked: jet_sdmass and jet_tau may be anything. A particle without energy
    has no direction and the model's logarithms no value for it, so its jet is bad rather than mended.

    Parameters
    ----------
    table : pyarrow.Table
        Jets in the schema of `softjet.jets.schema`; columns that it lacks are not missed.

    Returns
    -------
    list of BadJet
        In the order of rows.
    """
    found: dict[int, BadJet] = {}
    for bad, field, problem in _faults(table):
        for row in map(int, np.flatnonzero(bad)):
            found.setdefault(row, BadJet(row, field, problem))
    return [found[row] for row in sorted(found)]


def refuse(bad: BadJet, table: pa.Table, path: object, advice: str) -> InputError:
    """Error that names a bad jet of a file's table, what is wrong with it and what to do."""
    return InputError(path, f"{bad.field} of entry {table['entry'][bad.row]}", f"{bad.problem}; {advice}")


def _faults(table: pa.Table) -> Iterator[Fault]:
    yield table["label"].to_numpy() == NO_LABEL, "label_*", "not exactly one label is 1"
    yield from _length_faults(table)
    # Particles first: where a format gives no jet, its momentum is their sum.
    yield from _particle_faults(table)
    yield from _jet_faults(table)


def _length_faults(table: pa.Table) -> Iterator[Fault]:
    lengths = list_lengths(table, PARTICLE_COLUMNS[0])
    yield lengths == 0, PARTICLE_COLUMNS[0], "no particle"
    yield table["jet_nparticles"].to_numpy() != lengths, "jet_nparticles", "differs from the particles there"
    for name in particle_columns(table):
        yield list_lengths(table, name) != lengths, name, f"longer or shorter than {PARTICLE_COLUMNS[0]}"
    prongs = [name for name in TRUTH_PRONGS if name in table.column_names]
    for name in prongs[1:]:
        differs = list_lengths(table, name) != list_lengths(table, prongs[0])
        yield differs, name, f"longer or shorter than {prongs[0]}"


def _jet_faults(table: pa.Table) -> Iterator[Fault]:
    for name in JET_MOMENTUM:
        yield ~np.isfinite(table[name].to_numpy()), name, "not finite"
    for name in ("jet_pt", "jet_energy"):
        yield table[name].to_numpy() <= 0, name, "not positive"


def _particle_faults(table: pa.Table) -> Iterator[Fault]:
    for name in PARTICLE_COLUMNS:
        if name in table.column_names:
            yield _any(table, name, ~np.isfinite(list_values(table, name))), name, "not finite"
    yield _any(table, "part_energy", list_values(table, "part_energy") <= 0), "part_energy", "not positive"
    yield (
        _any(table, "part_pz", _without_rapidity(table)),
        "part_pz",
        "along the beam, where there is no rapidity",
    )


def _without_rapidity(table: pa.Table) -> NDArray[np.bool_]:
    """Particles for which pair features (`softjet.part.pairs.cylindrical`) find no rapidity, in float32."""
    energy, pz = (list_values(table, name) for name in ("part_energy", "part_pz"))
    if len(energy) != len(pz):
        return np.zeros(len(pz), bool)  # a fault of its own
    with np.errstate(invalid="ignore", over="ignore"):  # so are numbers that are not finite
        return np.asarray(1 + 2 * pz / np.maximum(energy - pz, np.float32(1e-20)) <= 0)


def _any(table: pa.Table, name: str, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Jets in which any value of the list is bad, from the values end to end."""
    lengths = list_lengths(table, name)
    jets = np.repeat(np.arange(len(lengths)), lengths)
    return np.bincount(jets[bad], minlength=len(lengths)) > 0
