"""Rows of text files in the formats that data sets come in."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from softjet.errors import InputError

_UNPACKED, _ALWAYS = 50, 1 << 25
_ROWS_AT_ONCE = 100
_CELL = 8


def most_unpacked(path: Path) -> int:
    """Bytes that a packed text may have: far beyond what text shrinks to, and no small file fills memory."""
    return max(_UNPACKED * path.stat().st_size, _ALWAYS)


def read_rows(path: str | Path, headings: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a file of rows; every value is a string, or missing.

    Parameters
    ----------
    path : str or path
        Parquet, Arrow (stream or file), tab-separated without quoting (GLUE's), CSV or JSON lines; text in
        UTF-8.
    headings : sequence of str, optional
        Names of the columns of a tab-separated file that has no line of them.

    Raises
    ------
    InputError
        There is no such file, it is in no known format or encoding, it is damaged, has two columns of one
        name or unpacks to too much.
    """
    path = Path(path)
    if path.suffix not in READERS:
        known = ", ".join(READERS)
        raise InputError(path, "format", f"the name ends with none of {known}; convert it to one of them")
    if not path.is_file():
        raise InputError(path, "file", "is not there; check the path")
    try:
        rows = READERS[path.suffix](path)
    except UnicodeDecodeError as error:
        raise InputError(path, "encoding", f"is not UTF-8 ({error.reason}); convert it to UTF-8") from error
    except InputError:
        raise
    except Exception as error:  # Arrow and pandas raise many kinds on damaged files
        raise InputError(path, "content", f"cannot be read ({error}); get the file again") from error
    if headings is not None and path.suffix == ".tsv" and not set(headings) & set(rows.columns):
        return _headed(rows, headings, path)
    return rows


def _headed(rows: pd.DataFrame, headings: Sequence[str], path: Path) -> pd.DataFrame:
    """Rows of a file whose first line was taken for headings."""
    if len(headings) != rows.shape[1]:
        raise InputError(
            path, "columns", f"are {rows.shape[1]}, and {len(headings)} are wanted: {', '.join(headings)}"
        )
    first = pd.DataFrame([list(rows.columns)], columns=list(headings))
    return pd.concat([first, rows.set_axis(list(headings), axis=1)], ignore_index=True)


def _arrow(path: Path) -> pd.DataFrame:
    with pa.memory_map(str(path)) as source:
        try:
            stream = pa.ipc.open_stream(source)
            return _strings(path, stream, stream.schema)
        except pa.ArrowInvalid:
            file = pa.ipc.open_file(source)
            return _strings(path, map(file.get_batch, range(file.num_record_batches)), file.schema)


def _parquet(path: Path) -> pd.DataFrame:
    with pq.ParquetFile(path) as file:
        return _strings(path, file.iter_batches(_ROWS_AT_ONCE, use_threads=False), file.schema_arrow)


def _strings(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pd.DataFrame:
    """Text and numbers of a table as strings; columns of anything else are left out."""
    _check_names(path, schema.names)
    kept = [field.name for field in schema if not pa.types.is_nested(field.type)]
    texts = pa.schema([(name, pa.string()) for name in kept])
    found, left = [], most_unpacked(path)
    for batch in batches:
        batch.validate(full=True)  # its texts could lie beyond their bytes
        found.append(pa.record_batch([batch[name].cast(pa.string()) for name in kept], schema=texts))
        left -= found[-1].nbytes
        if left < 0:
            problem = f"unpacks to more than {most_unpacked(path)} bytes; write it anew"
            raise InputError(path, "content", problem)
    table = pa.Table.from_batches(found, texts)
    return pd.DataFrame({name: table[name].to_pandas() for name in kept}, dtype="str")


def _check_names(path: Path, names: Sequence[str]) -> None:
    if again := [name for name in names if names.count(name) > 1]:
        raise InputError(path, again[0], "is there twice; leave one of the two columns")


_LONE = re.compile(rb"\r(?!\n)[^\n]*\n")
"""A carriage return within a line."""


def _separated(separator: str, quoting: Literal[0, 3]) -> Callable[[Path], pd.DataFrame]:
    def read(path: Path) -> pd.DataFrame:
        # pandas would give the second of two equal names another.
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = next(csv.reader(file, delimiter=separator, quoting=quoting), [])
        _check_names(path, first)
        # pandas ends a line at a carriage return too, which without quotes may stand within a text.
        within = quoting == csv.QUOTE_NONE and _LONE.search(path.read_bytes()) is not None
        rows = pd.read_csv(
            path, sep=separator, quoting=quoting, dtype="str", keep_default_na=False, encoding="utf-8-sig",
            lineterminator="\n" if within else None,
        )  # fmt: skip
        if within:
            rows = rows.rename(columns=lambda name: name.removesuffix("\r"))
            rows[rows.columns[-1]] = rows[rows.columns[-1]].str.removesuffix("\r")
        if not isinstance(rows.index, pd.RangeIndex):  # what pandas makes of surplus fields
            raise ValueError("lines have more fields than the first has headings")
        return rows

    return read


def _json_lines(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig") as file:
        rows = [_json_row(line) for line in file if line.strip()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(rows) * len(names) * _CELL > most_unpacked(path):  # where each row has names of its own
        raise InputError(path, "content", f"has {len(rows)} rows of {len(names)} names; write it anew")
    return pd.DataFrame({name: [row.get(name) for row in rows] for name in names}, dtype="str")


def _json_row(line: str) -> dict[str, str | None]:
    """Values of a line as they are written there: a column of pandas turns integers beside null to floats."""
    row = json.loads(line, parse_constant=lambda _: None)
    if not isinstance(row, dict):
        raise ValueError("a line holds no object of keys and values")
    return {name: None if value is None else str(value) for name, value in row.items()}


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".tsv": _separated("\t", 3),
    ".csv": _separated(",", 0),
    ".jsonl": _json_lines,
}
"""Reader of each format by the end of a file's name."""
