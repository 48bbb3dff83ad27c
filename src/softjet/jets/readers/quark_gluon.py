"""EnergyFlow's quark and gluon jets (arXiv 1810.05165): npz files of pT, rapidity, phi and PDG identity."""

import io
import math
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from softjet.errors import InputError
from softjet.jets.readers.momenta import KINEMATICS, kinematics
from softjet.jets.readers.pieces import (
    NO_LABEL,
    JetFile,
    check_exists,
    damage_named,
    piece_table,
    read_files,
    steps,
)
from softjet.jets.schema import IDENTITIES, PARTICLE_ID, JetFacts, table_schema
from softjet.jets.tables import MOMENTUM

FACTS = JetFacts(("gluon", "quark"), "rapidity", True, "quark_gluon")
"""y = 1 is a quark."""

_DEFLATE = 1032
"""Most that deflate can compress."""

_MOST_SLOTS = 10_000
_LONGEST_HEADER = 10_000
_CHARGED = ((211, 321, 2212), (11,), (13,))
"""Hadrons, electrons, muons; a lepton of positive number has negative charge."""

_NEUTRAL_HADRONS, _PHOTON = (130, 2112), 22
_COLUMNS = {"label", *MOMENTUM, *KINEMATICS, PARTICLE_ID, "part_charge", *IDENTITIES, "source", "entry"}
_SCHEMA = table_schema(_COLUMNS, FACTS)


@dataclass(frozen=True)
class _Array:
    """An array in the archive whose rows are read in order."""

    stream: IO[bytes]
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def bytes_a_row(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def rows(self, count: int) -> NDArray:
        content = self.stream.read(count * self.bytes_a_row)
        return np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])


def inspect_quark_gluon(path: str | Path) -> JetFile:
    """Check that an npz file holds X and y as EnergyFlow's do.

    Parameters
    ----------
    path : str or path
        npz file.

    Returns
    -------
    JetFile
        Its number of jets; the schema has momenta, charge and identities.

    Raises
    ------
    InputError
        Where there is no such file, it is no npz, X or y is missing, of another shape, holds objects, or
        declares another size than it can have.
    """
    path = Path(path)
    with damage_named(path, "X", "npz"), _open_arrays(path) as (x, _):
        return JetFile(path, x.shape[0], _SCHEMA)


def read_quark_gluon(paths: Iterable[str | Path]) -> Iterator[pa.Table]:
    """Read EnergyFlow's quark and gluon jets piece by piece; memory is bounded by the piece.

    The files give rapidity, and all particles are massless, so that it is their pseudorapidity too; a
    jet has mass, and `jet_eta` and `part_deta` are of pseudorapidity. Slots of nothing but zeros are padding.

    Parameters
    ----------
    paths : iterable of paths
        npz files with X (jets, slots, 4): pT in GeV, rapidity, phi, PDG identity; and y (jets,).

    Yields
    ------
    pyarrow.Table
        Jets with the label (0 gluon, 1 quark), momenta, kinematics, `part_pid`, charge and identities.
        `source` is the file's name and `entry` the jet's row. A label other than 0 and 1 gives -1.

    Raises
    ------
    InputError
        As `inspect_quark_gluon`, and where rows cannot be read.
    """
    return read_files(paths, _pieces, "X", "npz")


def _pieces(path: Path) -> Iterator[pa.Table]:
    with _open_arrays(path) as (x, y):
        file = JetFile(path, x.shape[0], _SCHEMA)
        for first, last in steps(file.entries, x.bytes_a_row):
            yield _table(x.rows(last - first), y.rows(last - first), file, first)


def _table(x: NDArray, y: NDArray, file: JetFile, first: int) -> pa.Table:
    real = (x != 0).any(axis=-1)
    lengths, values = real.sum(axis=1), x[real].astype(np.float64)
    momenta = _momenta(*values.T[:3])
    columns = dict(zip(MOMENTUM, momenta.T, strict=True)) | kinematics(momenta, lengths)
    columns |= _identities(values[:, 3]) | {"label": np.where(np.isin(y, (0, 1)), y, NO_LABEL)}
    return piece_table(file, columns, lengths, first)


def _momenta(pt: NDArray, rapidity: NDArray, phi: NDArray) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        components = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(rapidity), pt * np.cosh(rapidity)
    return np.stack(components, axis=-1)


def _identities(numbers: NDArray) -> dict[str, NDArray]:
    """Identity and charge of each particle; a number that is no identity leaves the charge unknown."""
    known = (np.abs(numbers) < np.iinfo(np.int32).max) & (numbers == np.round(numbers))
    pid = np.where(known, numbers, 0).astype(np.int32)
    hadron, electron, muon = (np.isin(np.abs(pid), group) for group in _CHARGED)
    charge = np.sign(pid) * (hadron.astype(float) - electron - muon)
    neutral = np.isin(np.abs(pid), _NEUTRAL_HADRONS)
    flags = dict(zip(IDENTITIES, (hadron, neutral, pid == _PHOTON, electron, muon), strict=True))
    return {PARTICLE_ID: pid, "part_charge": np.where(known, charge, np.nan), **flags}


@contextmanager
def _open_arrays(path: Path) -> Iterator[tuple[_Array, _Array]]:
    """Give X and y at the start of their rows."""
    check_exists(path, "X")
    with ExitStack() as stack:
        with damage_named(path, "X", "npz"):
            archive = stack.enter_context(zipfile.ZipFile(path))
        x, y = (_open_array(archive, name, path, stack) for name in ("X", "y"))
        if len(x.shape) != 3 or x.shape[2] != 4 or not 1 <= x.shape[1] <= _MOST_SLOTS:
            raise InputError(path, "X", f"has the shape {x.shape}, not (jets, slots, 4)")
        if y.shape != x.shape[:1]:
            raise InputError(
                path, "y", f"has the shape {y.shape}, not one label for each of {x.shape[0]} jets"
            )
        yield x, y


def _open_array(archive: zipfile.ZipFile, name: str, path: Path, stack: ExitStack) -> _Array:
    try:
        member = archive.getinfo(f"{name}.npy")
    except KeyError as error:
        raise InputError(path, name, "the file lacks this array; give EnergyFlow's npz files") from error
    with damage_named(path, name, "npz"):
        stream = stack.enter_context(archive.open(member))
        shape, fortran, dtype = _header(stream)
    if dtype.hasobject:
        raise InputError(path, name, "holds pickled objects, which are never loaded; write plain numbers")
    if dtype.kind not in "fiub" or (fortran and len(shape) > 1):
        raise InputError(
            path, name, f"is {dtype} in {'Fortran' if fortran else 'C'} order; write numbers in C order"
        )
    array = _Array(stream, shape, dtype)
    _check_size(member, array, stream.tell(), path, name)
    return array


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type of a npy stream, which is left behind them; nothing in it is run.

    A header may say that it is gigabytes long, and numpy reads it before it refuses it.
    """
    start = io.BytesIO(stream.read(_LONGEST_HEADER))
    version = np.lib.format.read_magic(start)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    said = read(start)
    stream.seek(start.tell())
    return said


def _check_size(member: zipfile.ZipInfo, array: _Array, header: int, path: Path, name: str) -> None:
    """Refuse an array whose declared size is not that of its content, or more than compression allows."""
    declared = header + array.bytes_a_row * (array.shape[0] if array.shape else 0)
    if member.file_size != declared or declared > _DEFLATE * (member.compress_size + 1000):
        problem = f"declares {declared} bytes, its {member.compress_size} compressed ones cannot hold them"
        raise InputError(path, name, f"{problem}; fetch the file again")
