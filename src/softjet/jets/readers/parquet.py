"""Parquet files with the columns of the jet table."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from softjet.errors import InputError
from softjet.jets.readers import pieces
from softjet.jets.readers.momenta import AXIS, KINEMATICS, kinematics
from softjet.jets.readers.pieces import (
    NO_LABEL,
    JetFile,
    check_exists,
    check_flags,
    damage_named,
    read_files,
    source_column,
)
from softjet.jets.schema import COLUMNS, table_facts, table_schema
from softjet.jets.tables import MOMENTUM, list_column, list_lengths, list_values

_NEEDED = ("label", *MOMENTUM)
_PLACE = ("source", "entry")
_MOST_PARTICLES = 1000
"""Particles a jet, in the mean of a row group."""

_MOST_NUMBERS = 1 << 27
"""Numbers of a column in a row group: in a few bytes it may say that all are of one jet."""

_BUFFER = 1_000_000


def inspect_parquet(path: str | Path) -> JetFile:
    """Check that a Parquet file holds a label and four-vectors, and that all columns have their shape.

    Parameters
    ----------
    path : str or path
        Parquet file.

    Returns
    -------
    JetFile
        Its number of jets and the schema: the file's columns that the jet table knows, and kinematics.

    Raises
    ------
    InputError
        Where there is no such file, it is no Parquet, a needed column is missing, a column is of another
        kind, or the metadata holds an unknown word.
    """
    path = Path(path)
    with damage_named(path, "jets", "Parquet"), _open(path) as parquet:
        return _check_columns(parquet, path)


def read_parquet(paths: Iterable[str | Path]) -> Iterator[pa.Table]:
    """Read Parquet files with the columns of the jet table piece by piece; memory is bounded by the piece.

    The metadata of the file says rapidity or pseudorapidity, massless or not, and the classes; what it
    does not say is as in JetClass.

    Parameters
    ----------
    paths : iterable of paths
        Parquet files with at least label, part_px, part_py, part_pz and part_energy, of any numeric types.

    Yields
    ------
    pyarrow.Table
        Jets with the file's columns; jet kinematics, deta and dphi that it lacks are computed.
        `source` is the file's name and `entry` the jet's row. A label that is no class gives -1.

    Raises
    ------
    InputError
        As `inspect_parquet`, and where values are missing, do not fit or cannot be read.
    """
    return read_files(paths, _pieces, "jets", "Parquet")


def _check_columns(parquet: pq.ParquetFile, path: Path) -> JetFile:
    found = parquet.schema_arrow
    for name in _NEEDED:
        if name not in found.names:
            raise InputError(path, name, "the file lacks this column; give jets with label and four-vectors")
    columns = [name for name in COLUMNS if name in found.names and name not in _PLACE]
    for name in columns:
        if found.names.count(name) > 1:
            raise InputError(path, name, "is there twice; leave one of the two columns")
        _check_kind(found.field(name).type, name, path)
    _check_sizes(parquet.metadata, path)
    schema = table_schema({*columns, *KINEMATICS, *_PLACE}, table_facts(found, path))
    return JetFile(path, parquet.metadata.num_rows, schema)


def _check_sizes(metadata: pq.FileMetaData, path: Path) -> None:
    """Refuse row groups whose columns hold more numbers than jets have particles."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            most = min(_MOST_PARTICLES * group.num_rows, _MOST_NUMBERS)
            if column.num_values > most:
                problem = f"holds {column.num_values} numbers in one row group of {group.num_rows} jets"
                advice = f"at most {most} are read: write smaller row groups, of jets with their particles"
                raise InputError(path, column.path_in_schema.split(".")[0], f"{problem}; {advice}")


def _open(path: Path) -> pq.ParquetFile:
    check_exists(path, "jets")
    with damage_named(path, "jets", "Parquet"):
        return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)


def _pieces(path: Path) -> Iterator[pa.Table]:
    with _open(path) as parquet:
        file = _check_columns(parquet, path)
        columns = [name for name in file.schema.names if name in parquet.schema_arrow.names]
        columns = [name for name in columns if name not in _PLACE]
        first = 0
        for batch in parquet.iter_batches(_jets_a_piece(parquet), columns=columns, use_threads=False):
            yield _table(batch, file, first)
            first += len(batch)


def _jets_a_piece(parquet: pq.ParquetFile) -> int:
    groups = range(parquet.metadata.num_row_groups)
    total = sum(parquet.metadata.row_group(group).total_byte_size for group in groups)
    jets = pieces.PIECE * parquet.metadata.num_rows // max(total, 1)
    return int(np.clip(jets, 1, pieces.MOST_JETS))


def _table(batch: pa.RecordBatch, file: JetFile, first: int) -> pa.Table:
    raw = pa.Table.from_batches([batch])
    arrays = {name: _cast(raw, name, file, first) for name in raw.column_names}
    table = pa.table(arrays)
    made = _kinematics(table)
    made |= {
        "label": _labels(table, len(table_facts(file.schema).classes)),
        "source": source_column(file.path.name, len(batch)),
        "entry": np.arange(first, first + len(batch)),
    }
    return pa.table([made.get(name, arrays.get(name)) for name in file.schema.names], schema=file.schema)


def _kinematics(table: pa.Table) -> dict[str, pa.Array]:
    """Columns of `KINEMATICS` that the table lacks."""
    wanted = [name for name in KINEMATICS if name not in table.column_names]
    lengths = list_lengths(table, MOMENTUM[0])
    # Lists of unequal length have no kinematics; the jets are found to be bad.
    equal = all(np.array_equal(list_lengths(table, name), lengths) for name in MOMENTUM)
    made = {}
    if wanted:
        momenta = np.stack([_of_length(table, name, lengths, equal) for name in MOMENTUM], axis=1)
        given = {
            name: table[name].to_numpy().astype(np.float64) for name in AXIS if name in table.column_names
        }
        values = kinematics(momenta, lengths, given)
        made = {name: _narrow(values[name], lengths, COLUMNS[name]) for name in wanted}
    return made


def _of_length(table: pa.Table, name: str, lengths: NDArray[np.int64], equal: bool) -> NDArray:
    return list_values(table, name) if equal else np.full(lengths.sum(), np.nan)


def _narrow(values: NDArray, lengths: NDArray[np.int64], kind: pa.DataType) -> pa.Array:
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    return list_column(values, lengths, kind) if pa.types.is_list(kind) else pa.array(values)


def _labels(table: pa.Table, classes: int) -> pa.Array:
    label = table["label"].to_numpy()
    return pa.array(np.where((label >= 0) & (label < classes), label, NO_LABEL).astype(np.int8))


def _check_kind(found: pa.DataType, name: str, path: Path) -> None:
    is_list = pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)
    value = found.value_type if is_list else found
    number = pa.types.is_integer(value) or pa.types.is_floating(value) or pa.types.is_boolean(value)
    if is_list != pa.types.is_list(COLUMNS[name]) or not number:
        wanted = "one list of numbers" if pa.types.is_list(COLUMNS[name]) else "one number"
        raise InputError(path, name, f"is {found} where {wanted} a jet is wanted")


def _cast(table: pa.Table, name: str, file: JetFile, first: int) -> pa.ChunkedArray:
    """Bring a column to its type; a value that is missing or does not fit is named."""
    _check_nulls(table[name], name, file, first)
    kind = pa.int64() if name == "label" else COLUMNS[name]
    try:
        cast = table[name].cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        field = f"{name} of entries {first} to {first + len(table) - 1}"
        raise InputError(file.path, field, f"do not fit {kind}: {str(error).splitlines()[0]}") from error
    if pa.types.is_list(kind) and pa.types.is_boolean(kind.value_type):
        check_flags(list_values(table, name), list_lengths(table, name), file.path, name, first)
    return cast


def _check_nulls(column: pa.ChunkedArray, name: str, file: JetFile, first: int) -> None:
    rows = np.flatnonzero(pc.is_null(column).to_numpy())
    if not len(rows) and pa.types.is_nested(column.type):
        inside = pc.is_null(pc.list_flatten(column)).to_numpy()
        rows = pc.list_parent_indices(column).to_numpy()[inside]
    if len(rows):
        raise InputError(file.path, f"{name} of entry {first + rows[0]}", "is null; give a number")
