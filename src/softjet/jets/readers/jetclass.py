"""ROOT files with JetClass's tree, published or simulated."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import uproot
from numpy.typing import NDArray

from softjet.errors import InputError
from softjet.jets.readers import pieces
from softjet.jets.readers.pieces import (
    NO_LABEL,
    JetFile,
    check_exists,
    check_flags,
    damage_named,
    read_files,
)
from softjet.jets.schema import LABELS, TREE, TRUTH_JET, TRUTH_PARTICLES, TRUTH_PRONGS, jet_schema
from softjet.jets.tables import list_column

_TRUTH = (*TRUTH_JET, *TRUTH_PRONGS, *TRUTH_PARTICLES)
_MADE = ("label", "source", "entry")


def inspect_jetclass(path: str | Path) -> JetFile:
    """Check that a ROOT file holds the tree with all its branches.

    Parameters
    ----------
    path : str or path
        ROOT file.

    Returns
    -------
    JetFile
        Its number of jets, and a schema with the `truth_*` columns if the file has such branches.

    Raises
    ------
    InputError
        Where there is no such file or tree, the file is truncated, or a branch is missing.
    """
    path = Path(path)
    with damage_named(path, TREE, "ROOT"), _open_tree(path) as tree:
        return _check_branches(tree, path)


def read_jetclass(paths: Iterable[str | Path]) -> Iterator[pa.Table]:
    """Read JetClass files piece by piece; memory is bounded by the piece, not by the files.

    Particles may have mass; eta is pseudorapidity.

    Parameters
    ----------
    paths : iterable of paths
        ROOT files, published or simulated.

    Yields
    ------
    pyarrow.Table
        Jets in `jet_schema`, with truth where the file has it; `source` is the file's name and `entry`
        the jet's place in the tree. Values stand as they are in the file, sound or not;
        a jet without exactly one label has the label -1 (see `softjet.jets.check`).

    Raises
    ------
    InputError
        As `inspect_jetclass`, and where a branch has another shape or cannot be read.
    """
    return read_files(paths, _pieces, TREE, "ROOT")


def _pieces(path: Path) -> Iterator[pa.Table]:
    with _open_tree(path) as tree:
        file, entry = _check_branches(tree, path), 0
        step = f"{pieces.PIECE} B"
        for piece in tree.iterate(list(branches(file.schema)), step_size=step, library="ak"):
            yield _table(piece, file, entry)
            entry += len(piece)


def _check_branches(tree: Any, path: Path) -> JetFile:
    names = set(tree.keys())
    schema = jet_schema(truth=not names.isdisjoint(_TRUTH))
    for name in branches(schema):
        if name not in names:
            raise InputError(path, name, f"the tree {TREE!r} lacks this branch; give a file that has it")
    return JetFile(path, tree.num_entries, schema)


def branches(schema: pa.Schema) -> tuple[str, ...]:
    """Branches that files of this schema are read for."""
    return (*LABELS, *(name for name in schema.names if name not in _MADE))


@contextmanager
def _open_tree(path: Path) -> Iterator[Any]:
    """Give the tree of a ROOT file, once its length is what its header says."""
    check_exists(path, TREE)
    if "::" in str(path):
        raise InputError(path, "name", "has :: in it, which uproot reads as a chain of files; rename it")
    with damage_named(path, TREE, "ROOT"):
        file = uproot.open(path)
    with file:
        if path.stat().st_size < file.file.fEND:
            raise InputError(path, TREE, "the file is truncated; make or fetch it again")
        if TREE not in file:
            raise InputError(path, TREE, "the file has no such tree; give files in JetClass's format")
        with damage_named(path, TREE, "ROOT"):
            tree = file[TREE]
        if not isinstance(tree, uproot.TTree):
            raise InputError(
                path, TREE, f"is no tree but {file.classname_of(TREE)}; give files in JetClass's format"
            )
        yield tree


def _table(piece: ak.Array, file: JetFile, first_entry: int) -> pa.Table:
    columns = {
        "label": _labels(piece, file.path),
        "source": pieces.source_column(file.path.name, len(piece)),
        "entry": np.arange(first_entry, first_entry + len(piece)),
    }
    for field in file.schema:
        if field.name not in columns:
            columns[field.name] = _column(piece[field.name], field, file.path, first_entry)
    return pa.table(columns, schema=file.schema)


def _labels(piece: ak.Array, path: Path) -> NDArray[np.int8]:
    """Place of the one label that is set, else `NO_LABEL`."""
    for name in LABELS:
        _check_shape(piece[name], name, 1, path)
    hot = np.stack([ak.to_numpy(piece[name]).astype(np.float64) for name in LABELS], axis=1)
    one = np.isin(hot, (0, 1)).all(axis=1) & (hot.sum(axis=1) == 1)
    return np.where(one, hot.argmax(axis=1), NO_LABEL).astype(np.int8)


def _column(array: ak.Array, field: pa.Field, path: Path, first_entry: int) -> pa.Array:
    """Bring a branch of any numeric type to the column's type; every list has its own lengths."""
    if not pa.types.is_list(field.type):
        _check_shape(array, field.name, 1, path)
        return pa.array(_cast(ak.to_numpy(array), field.type), field.type)
    _check_shape(array, field.name, 2, path)
    values, lengths = ak.to_numpy(ak.flatten(array)), ak.to_numpy(ak.num(array))
    if pa.types.is_boolean(field.type.value_type):
        check_flags(values, lengths, path, field.name, first_entry)
    return list_column(_cast(values, field.type.value_type), lengths, field.type)


def _check_shape(array: ak.Array, name: str, dimensions: int, path: Path) -> None:
    if array.ndim != dimensions or "string" in str(array.type):
        wanted = "one number" if dimensions == 1 else "one list of numbers"
        raise InputError(path, name, f"is {array.type.content} where {wanted} a jet is wanted")


def _cast(values: NDArray, type_: pa.DataType) -> NDArray:
    return values.astype(type_.to_pandas_dtype())
