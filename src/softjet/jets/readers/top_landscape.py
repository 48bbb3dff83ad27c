"""The top-tagging landscape's HDF5 files (arXiv 1902.09914): a pandas frame, one row a jet.

pandas wrote the names of the columns as a pickle. It is never loaded: a list of strings is read off its
opcodes, and a pickle that holds anything else is refused.
"""

import pickletools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (registers blosc, which pandas compresses with)
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
from softjet.jets.schema import JetFacts, table_schema
from softjet.jets.tables import MOMENTUM

FACTS = JetFacts(("QCD", "Top"), "pseudorapidity", False, "top_landscape")
"""The signal is label 1."""

KEY = "table"
SLOTS = 200
"""Particles a row has room for."""

LABEL = "is_signal_new"
_PREFIXES = ("PX", "PY", "PZ", "E")
_SCHEMA = table_schema({"label", *MOMENTUM, *KINEMATICS, "source", "entry"}, FACTS)

_STRINGS = {
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
_STRUCTURE = {
    "PROTO", "FRAME", "MARK", "LIST", "EMPTY_LIST", "APPEND", "APPENDS", "PUT", "BINPUT", "LONG_BINPUT",
    "MEMOIZE", "STOP",
}  # fmt: skip

_COMPRESSION = 1000
"""More than compression makes of any jets: rows that were never written take no place in a file."""

Place = tuple[str, int]
"""Field of the compound type, and column in it."""


def inspect_top_landscape(path: str | Path) -> JetFile:
    """Check that an HDF5 file holds the frame `table` with its columns.

    Parameters
    ----------
    path : str or path
        HDF5 file.

    Returns
    -------
    JetFile
        Its number of jets; the schema has momenta only.

    Raises
    ------
    InputError
        Where there is no such file or frame, the file is truncated or no HDF5, a column is missing, or the
        names of the columns cannot be read without running what the file says.
    """
    path = Path(path)
    with damage_named(path, KEY, "HDF5"), _open_rows(path) as rows:
        _places(rows, path)
        return JetFile(path, len(rows), _SCHEMA)


def read_top_landscape(paths: Iterable[str | Path]) -> Iterator[pa.Table]:
    """Read files of the top-tagging landscape piece by piece; memory is bounded by the piece.

    Particles may have mass; eta is pseudorapidity. Slots that hold nothing but zeros are padding.

    Parameters
    ----------
    paths : iterable of paths
        HDF5 files with the frame `table`: E_i, PX_i, PY_i, PZ_i for i < 200 in GeV, and is_signal_new.

    Yields
    ------
    pyarrow.Table
        Jets with the label (0 QCD, 1 Top), momenta and kinematics; the jet is the sum of its particles.
        `source` is the file's name and `entry` the jet's row. A label other than 0 and 1 gives -1.

    Raises
    ------
    InputError
        As `inspect_top_landscape`, and where rows cannot be read.
    """
    return read_files(paths, _pieces, KEY, "HDF5")


def _pieces(path: Path) -> Iterator[pa.Table]:
    with _open_rows(path) as rows:
        places, file = _places(rows, path), JetFile(path, len(rows), _SCHEMA)
        for first, last in steps(file.entries, rows.dtype.itemsize):
            yield _table(rows[first:last], places, file, first)


def _table(rows: NDArray, places: dict[str, Place], file: JetFile, first: int) -> pa.Table:
    slots = np.stack([_values(rows, places, prefix) for prefix in _PREFIXES], axis=-1)
    real = (slots != 0).any(axis=-1)
    lengths, momenta = real.sum(axis=1), slots[real]
    field, column = places[LABEL]
    signal = rows[field][:, column]
    columns = dict(zip(MOMENTUM, momenta.T, strict=True)) | kinematics(momenta, lengths)
    columns["label"] = np.where(np.isin(signal, (0, 1)), signal, NO_LABEL)
    return piece_table(file, columns, lengths, first)


def _values(rows: NDArray, places: dict[str, Place], prefix: str) -> NDArray:
    """Component of all slots, (jets, slots)."""
    found = [places[f"{prefix}_{slot}"] for slot in range(SLOTS)]
    (field,) = {field for field, _ in found}
    return rows[field][:, [column for _, column in found]]


@contextmanager
def _open_rows(path: Path) -> Iterator[h5py.Dataset]:
    """Give the frame's rows, a compound dataset."""
    check_exists(path, KEY)
    with damage_named(path, KEY, "HDF5"):
        file = h5py.File(path, "r")
    with file:
        with damage_named(path, KEY, "HDF5"):
            _check_links(file, path)
            rows = file.get(f"{KEY}/table")
            is_frame = isinstance(rows, h5py.Dataset) and rows.ndim == 1 and rows.dtype.names is not None
        if not is_frame:
            problem = "the file has no such pandas frame in table format; give files of the top landscape"
            raise InputError(path, KEY, problem)
        _check_storage(rows, path)
        yield rows


def _check_links(file: h5py.File, path: Path) -> None:
    """Refuse a frame in another file before that is opened."""
    for name in (KEY, f"{KEY}/table"):
        if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
            raise InputError(path, name, "is a link to another file, which is not followed; give that file")


def _check_storage(rows: h5py.Dataset, path: Path) -> None:
    """Refuse rows that stand in another file, or nowhere."""
    if rows.is_virtual or rows.external:
        raise InputError(path, KEY, "has its rows in another file, which is not read; give that file")
    declared, stored = rows.size * rows.dtype.itemsize, rows.id.get_storage_size()
    if declared > _COMPRESSION * (stored + 1000):
        problem = (
            f"declares {declared} bytes, its {stored} stored ones cannot hold them; fetch the file again"
        )
        raise InputError(path, KEY, problem)


def _places(rows: h5py.Dataset, path: Path) -> dict[str, Place]:
    """Where each column of the frame stands in a row."""
    places: dict[str, Place] = {}
    for block in [name for name in rows.dtype.names if name.startswith("values_block_")]:
        names, kind = _names(rows, block, path), rows.dtype[block]
        if kind.shape != (len(names),) or kind.base.kind not in "fiub":
            raise InputError(path, block, f"is {kind} where {len(names)} numbers a jet are wanted")
        if again := sorted({*places}.intersection(names)) or [n for n in names if names.count(n) > 1]:
            raise InputError(path, again[0], "is there twice; leave one of the two columns")
        places |= {name: (block, column) for column, name in enumerate(names)}
    particles = [f"{prefix}_{slot}" for slot in range(SLOTS) for prefix in _PREFIXES]
    for name in (*particles, LABEL):
        if name not in places:
            raise InputError(
                path, name, f"the frame {KEY!r} lacks this column; give files of the top landscape"
            )
    if len({places[name][0] for name in particles}) > 1:
        raise InputError(path, "E_0", "particles stand in blocks of different types; write them as one type")
    return places


def _names(rows: h5py.Dataset, block: str, path: Path) -> list[str]:
    key = f"{block}_kind"
    with damage_named(path, key, "a frame that pandas wrote"):
        pickled = rows.attrs[key]
        if not isinstance(pickled, bytes | np.void):
            raise InputError(
                path, key, f"is {type(pickled).__name__}, not the names that pandas writes there"
            )
        return pickled_strings(pickled if isinstance(pickled, bytes) else pickled.tobytes(), path, key)


def pickled_strings(pickle: bytes, path: str | Path, field: str) -> list[str]:
    """Read a pickled list of strings without loading the pickle.

    Parameters
    ----------
    pickle : bytes
        Of any protocol.
    path, field : str
        What an error names.

    Returns
    -------
    list of str
        The strings in their order.

    Raises
    ------
    InputError
        Where the pickle has an opcode that such a list does not need.
    """
    strings = []
    for opcode, value, _ in pickletools.genops(pickle):
        if opcode.name in _STRINGS:
            strings.append(str(value))
        elif opcode.name not in _STRUCTURE:
            problem = f"its pickle has the opcode {opcode.name}, but only a list of names is read; not loaded"
            raise InputError(path, field, problem)
    return strings
