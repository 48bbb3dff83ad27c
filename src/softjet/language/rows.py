"""Rows of text files in the formats that data sets come in."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from softjet.errors import InputError


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
        There is no such file, it is in no known format or encoding, or it is damaged.
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
    except (ValueError, OSError) as error:  # Arrow's and pandas' errors of damaged files are both
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
            return _strings(pa.ipc.open_stream(source).read_all())
        except pa.ArrowInvalid:
            return _strings(pa.ipc.open_file(source).read_all())


def _parquet(path: Path) -> pd.DataFrame:
    return _strings(pq.read_table(path))


def _strings(table: pa.Table) -> pd.DataFrame:
    """Text and numbers of a table as strings; columns of anything else are left out."""
    kept = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
    return pd.DataFrame({name: table[name].cast(pa.string()).to_pandas() for name in kept}, dtype="str")


def _separated(separator: str, quoting: Literal[0, 3]) -> Callable[[Path], pd.DataFrame]:
    def read(path: Path) -> pd.DataFrame:
        rows = pd.read_csv(
            path, sep=separator, quoting=quoting, dtype="str", keep_default_na=False, encoding="utf-8-sig"
        )
        if not isinstance(rows.index, pd.RangeIndex):  # what pandas makes of surplus fields
            raise ValueError("lines have more fields than the first has headings")
        return rows

    return read


def _json_lines(path: Path) -> pd.DataFrame:
    return pd.read_json(path, lines=True, dtype=False, encoding="utf-8-sig").astype("str")


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".tsv": _separated("\t", 3),
    ".csv": _separated(",", 0),
    ".jsonl": _json_lines,
}
"""Reader of each format by the end of a file's name."""
