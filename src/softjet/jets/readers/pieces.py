"""What all readers share: files and their facts, pieces of bounded size, and one-line errors."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from softjet.errors import InputError
from softjet.jets.tables import list_column

PIECE = 50_000_000
"""Bytes of a file's content that are read at once, about."""

MOST_JETS = 20_000
"""Jets a piece, however small the file says they are."""

NO_LABEL = -1
"""Label of a jet to which the file gives none, or more than one."""


@dataclass(frozen=True)
class JetFile:
    """A file of jets, checked for what it must hold.

    Attributes
    ----------
    path : Path
        The file.
    entries : int
        Jets in it.
    schema : pyarrow.Schema
        Of the tables that its reader gives, with the format's facts as metadata.
    """

    path: Path
    entries: int
    schema: pa.Schema


Pieces = Callable[[Path], Iterator[pa.Table]]
"""Checks a file and reads its jets in order."""


def read_files(paths: Iterable[str | Path], pieces: Pieces, field: str, kind: str) -> Iterator[pa.Table]:
    """Read files one after the other; whatever damaged content raises becomes one line.

    Parameters
    ----------
    paths : iterable of paths
        The files.
    pieces : callable
        Of the format.
    field, kind : str
        Which part of the file an error names, and what the file should have been.

    Yields
    ------
    pyarrow.Table
        Jets in their order, all of them.
    """
    for path in map(Path, paths):
        tables = pieces(path)
        while (table := _next(tables, path, field, kind)) is not None:
            yield table


def _next(tables: Iterator[pa.Table], path: Path, field: str, kind: str) -> pa.Table | None:
    with damage_named(path, field, kind):
        return next(tables, None)


@contextmanager
def damage_named(path: Path, field: str, kind: str) -> Iterator[None]:
    """Turn whatever reading raises on a damaged file into one line."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        problem = "asks for more memory than there is; the file is damaged, or too large for this machine"
        raise InputError(path, field, problem) from error
    except Exception as error:
        problem = (
            f"the file cannot be read ({type(error).__name__}); it is truncated, encrypted or not {kind}"
        )
        raise InputError(path, field, f"{problem}: make or fetch it again") from error


def check_exists(path: Path, field: str) -> None:
    """Raise where there is no such file."""
    if not path.is_file():
        raise InputError(path, field, "there is no such file; check the path")


def steps(entries: int, bytes_a_jet: float) -> Iterator[tuple[int, int]]:
    """First and last-plus-one entry of each piece of about `PIECE` bytes, but of `MOST_JETS` at most."""
    jets = min(max(1, int(PIECE / max(bytes_a_jet, 1))), MOST_JETS)
    for first in range(0, entries, jets):
        yield first, min(first + jets, entries)


def piece_table(
    file: JetFile, columns: Mapping[str, NDArray], lengths: NDArray[np.int64], first_entry: int
) -> pa.Table:
    """Make the table of a piece; adds `source` and `entry`.

    Parameters
    ----------
    file : JetFile
        The file; its schema says which columns the table has.
    columns : mapping
        One value a jet (jets,), or one a particle, end to end.
    lengths : (jets,) int64 array
        Particles of each jet.
    first_entry : int
        Place in the file of the piece's first jet.
    """
    jets = len(lengths)
    arrays = {
        "source": source_column(file.path.name, jets),
        "entry": np.arange(first_entry, first_entry + jets),
    }
    for field in file.schema:
        if field.name not in arrays:
            arrays[field.name] = _column(columns[field.name], lengths, field.type)
    return pa.table(arrays, schema=file.schema)


def _column(values: NDArray, lengths: NDArray[np.int64], kind: pa.DataType) -> pa.Array:
    # A number that float32 cannot hold becomes infinite, and the jet is found to be bad.
    with np.errstate(over="ignore", invalid="ignore"):
        if pa.types.is_list(kind):
            return list_column(values.astype(kind.value_type.to_pandas_dtype()), lengths, kind)
        return pa.array(values.astype(kind.to_pandas_dtype()), kind)


def check_flags(values: NDArray, lengths: NDArray[np.int64], path: Path, name: str, first_entry: int) -> None:
    """Raise where a flag of a particle, in any numeric type, is neither 0 nor 1.

    Parameters
    ----------
    values : array, one value a particle, end to end
        As the file has them; as bool, what is no number would be true.
    lengths : (jets,) int64 array
        Particles of each jet.
    path, name, first_entry
        The file, the column, and the place in the file of the first jet: what an error names.
    """
    bad = np.flatnonzero((values != 0) & (values != 1))
    if len(bad):
        entry = first_entry + np.searchsorted(lengths.cumsum(), bad[0], side="right")
        raise InputError(path, f"{name} of entry {entry}", f"is {float(values[bad[0]]):g}; a flag is 0 or 1")


def source_column(name: str, jets: int) -> pa.DictionaryArray:
    """Name of the file, once a jet."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(jets, np.int32)), pa.array([name]))
