"""Read ROOT files with JetClass's tree, published or simulated, as Arrow tables of jets."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import uproot
from numpy.typing import NDArray

from softjet.errors import InputError
from softjet.jets.schema import (
    IDENTITIES,
    JET_COLUMNS,
    LABELS,
    PARTICLE_COLUMNS,
    TREE,
    TRUTH_JET,
    TRUTH_PARTICLES,
    TRUTH_PRONGS,
    jet_schema,
)
from softjet.jets.tables import list_column

STEP = "50 MB"
"""Size of the pieces in which a tree is read."""

TRUTH = (*TRUTH_JET, *TRUTH_PRONGS, *TRUTH_PARTICLES)
NO_LABEL = -1
"""Label of a jet whose `label_*` branches are not one-hot."""


@dataclass(frozen=True)
class JetFile:
    """A ROOT file of jets, checked for its branches."""

    path: Path
    entries: int
    truth: bool


def inspect_jetclass(path: str | Path) -> JetFile:
    """Check that a ROOT file holds the tree with all its branches.

    Parameters
    ----------
    path : str or path
        ROOT file.

    Returns
    -------
    JetFile
        Its number of jets and whether it has the `truth_*` branches.

    Raises
    ------
    InputError
        Where there is no such file or tree, the file is truncated, or a branch is missing.
    """
    with _open_tree(Path(path)) as tree:
        return _check_branches(tree, Path(path))


def read_jetclass(paths: Iterable[str | Path]) -> Iterator[pa.Table]:
    """Read JetClass files piece by piece; memory is bounded by `STEP`, not by the files.

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
    for path in paths:
        yield from _read_file(Path(path))


def _read_file(path: Path) -> Iterator[pa.Table]:
    with _open_tree(path) as tree:
        file, entry = _check_branches(tree, path), 0
        pieces = tree.iterate(list(_branches(file.truth)), step_size=STEP, library="ak")
        while (piece := _next_piece(pieces, path)) is not None:
            yield _table(piece, file, entry)
            entry += len(piece)


def _check_branches(tree: Any, path: Path) -> JetFile:
    names = set(tree.keys())
    truth = not names.isdisjoint(TRUTH)
    for name in _branches(truth):
        if name not in names:
            raise InputError(path, name, f"the tree {TREE!r} lacks this branch; give a file that has it")
    return JetFile(path, tree.num_entries, truth)


def _branches(truth: bool) -> tuple[str, ...]:
    return (*LABELS, *JET_COLUMNS, *PARTICLE_COLUMNS, *IDENTITIES, *(TRUTH if truth else ()))


@contextmanager
def _open_tree(path: Path) -> Iterator[Any]:
    """Give the tree of a ROOT file, once its length is what its header says."""
    if not path.is_file():
        raise InputError(path, TREE, "there is no such file; check the path")
    with _root_errors(path):
        file = uproot.open(path)
    with file:
        if path.stat().st_size < file.file.fEND:
            raise InputError(path, TREE, "the file is truncated; make or fetch it again")
        if TREE not in file:
            raise InputError(path, TREE, "the file has no such tree; give files in JetClass's format")
        with _root_errors(path):
            tree = file[TREE]
        yield tree


@contextmanager
def _root_errors(path: Path) -> Iterator[None]:
    """Turn whatever reading raises on a damaged file into one line."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        problem = f"the file cannot be read ({type(error).__name__}); it is truncated or not ROOT"
        raise InputError(path, TREE, f"{problem}: make or fetch it again") from error


def _next_piece(pieces: Iterator[ak.Array], path: Path) -> ak.Array | None:
    with _root_errors(path):
        return next(pieces, None)


def _table(piece: ak.Array, file: JetFile, first_entry: int) -> pa.Table:
    schema = jet_schema(file.truth)
    columns = {"label": _labels(piece, file.path), "source": _source(file.path.name, len(piece))}
    columns["entry"] = np.arange(first_entry, first_entry + len(piece))
    for field in schema:
        if field.name not in columns:
            columns[field.name] = _column(piece[field.name], field, file.path)
    return pa.table(columns, schema=schema)


def _source(name: str, jets: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(jets, np.int32)), pa.array([name]))


def _labels(piece: ak.Array, path: Path) -> NDArray[np.int8]:
    """Place of the one label that is set, else `NO_LABEL`."""
    for name in LABELS:
        _check_shape(piece[name], name, 1, path)
    hot = np.stack([ak.to_numpy(piece[name]).astype(np.float64) for name in LABELS], axis=1)
    one = np.isin(hot, (0, 1)).all(axis=1) & (hot.sum(axis=1) == 1)
    return np.where(one, hot.argmax(axis=1), NO_LABEL).astype(np.int8)


def _column(array: ak.Array, field: pa.Field, path: Path) -> pa.Array:
    """Bring a branch of any numeric type to the column's type."""
    if not pa.types.is_list(field.type):
        _check_shape(array, field.name, 1, path)
        return pa.array(_cast(ak.to_numpy(array), field.type), field.type)
    _check_shape(array, field.name, 2, path)
    values = _cast(ak.to_numpy(ak.flatten(array)), field.type.value_type)
    return list_column(values, ak.to_numpy(ak.num(array)), field.type)


def _check_shape(array: ak.Array, name: str, dimensions: int, path: Path) -> None:
    if array.ndim != dimensions or "string" in str(array.type):
        wanted = "one number" if dimensions == 1 else "one list of numbers"
        raise InputError(path, name, f"is {array.type.content} where {wanted} a jet is wanted")


def _cast(values: NDArray, type_: pa.DataType) -> NDArray:
    return values != 0 if pa.types.is_boolean(type_) else values.astype(type_.to_pandas_dtype())
