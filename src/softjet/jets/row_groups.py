"""Row groups of Parquet files of jets: what their footers tell, and which of them to use."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from softjet.errors import InputError
from softjet.jets.features import Kind, check_features
from softjet.jets.schema import table_facts


@dataclass(frozen=True)
class RowGroup:
    """Some jets of a file that are read together.

    Attributes
    ----------
    path : Path
        The Parquet file.
    index : int
        Place of the row group in the file.
    first_row : int
        Jets before it, through all files in their order.
    stored : int
        Jets in it.
    jets : int
        Jets of it that are used.
    labels : pair of int
        Least and largest label in it.
    """

    path: Path
    index: int
    first_row: int
    stored: int
    jets: int
    labels: tuple[int, int]

    def chosen(self) -> NDArray[np.int64]:
        """Places in the row group of the jets that are used, evenly spaced, (jets,)."""
        return np.arange(self.jets) * self.stored // self.jets


def row_groups(paths: Sequence[Path], features: Kind) -> tuple[list[RowGroup], tuple[str, ...]]:
    """Row groups of Parquet files in the order of the files, and the classes, from the files' footers.

    Parameters
    ----------
    paths : sequence of paths
        Files of one split.
    features : {"kin", "kinpid", "kinpidplus", "full"}
        Feature set that they must be able to give.

    Raises
    ------
    InputError
        Where a file is not a jet table, names other classes than the first, or has labels outside them.
    """
    groups: list[RowGroup] = []
    classes: tuple[str, ...] = ()
    for path in paths:
        first_row = groups[-1].first_row + groups[-1].stored if groups else 0
        found, named = _of_file(path, features, first_row)
        classes = classes or named
        if named != classes:
            problem = (
                f"are {','.join(named)}, but those of {paths[0]} {','.join(classes)}; give files of one kind"
            )
            raise InputError(path, "classes", problem)
        groups += found
    return groups, classes


def fewer(groups: Sequence[RowGroup], jets: int, generator: np.random.Generator) -> list[RowGroup]:
    """Choose jets such that the shares of labels stay and few row groups are read.

    Parameters
    ----------
    groups : sequence of RowGroup
        Of all jets.
    jets : int
        Number to keep.
    generator : numpy Generator
        Chooses the row groups.

    Returns
    -------
    list of RowGroup
        Those of which jets are used, in their order.
    """
    strata = by_labels(groups)
    edges = np.cumsum([sum(group.jets for group in members) for members in strata])
    wanted = np.diff(np.rint(edges * min(1, jets / edges[-1])).astype(int), prepend=0).tolist()
    kept = [
        group
        for members, quota in zip(strata, wanted, strict=True)
        for group in _first(permuted(members, generator), quota)
    ]
    return sorted(kept, key=lambda group: group.first_row)


def by_labels(groups: Iterable[RowGroup]) -> list[list[RowGroup]]:
    """Row groups by range of labels."""
    ordered = sorted(groups, key=lambda group: (group.labels, group.first_row))
    return [list(members) for _, members in groupby(ordered, key=lambda group: group.labels)]


def permuted(groups: Sequence[RowGroup], generator: np.random.Generator) -> list[RowGroup]:
    """Row groups in random order."""
    return [groups[i] for i in generator.permutation(len(groups))]


def _of_file(path: Path, features: Kind, first_row: int) -> tuple[list[RowGroup], tuple[str, ...]]:
    try:
        with pq.ParquetFile(path) as file:
            check_features(file.schema_arrow.names, features, path)
            classes = table_facts(file.schema_arrow, path).classes
            stored = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            labels = [_label_range(path, file, i) if jets else (0, 0) for i, jets in enumerate(stored)]
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(path, "jets", "not a Parquet file of jets; convert again") from error
    low, high = min(labels, default=(0, 0))[0], max((most for _, most in labels), default=0)
    if low < 0 or high >= len(classes):
        problem = (
            f"{low} to {high}, but the file has {len(classes)} classes ({','.join(classes)}); convert again"
        )
        raise InputError(path, "label", problem)
    firsts = accumulate(stored, initial=first_row)
    table = zip(range(len(stored)), firsts, stored, labels, strict=False)
    return [RowGroup(path, i, row, jets, jets, ends) for i, row, jets, ends in table if jets], classes


def _label_range(path: Path, file: pq.ParquetFile, index: int) -> tuple[int, int]:
    """Least and largest label of a row group, from the footer if it says so."""
    if "label" not in file.schema_arrow.names:
        raise InputError(path, "label", "no such column; give a table that softjet converted")
    group = file.metadata.row_group(index)
    column = group.column(file.metadata.schema.names.index("label"))
    said = column.statistics
    if said is not None and said.has_min_max and said.null_count == 0:
        return int(said.min), int(said.max)
    labels = file.read_row_group(index, ["label"])["label"]
    if labels.null_count:
        raise InputError(path, "label", f"missing for {labels.null_count} jets; convert again")
    ends = pc.min_max(labels).as_py()
    return int(ends["min"]), int(ends["max"])


def _first(groups: Iterable[RowGroup], quota: int) -> list[RowGroup]:
    """The first row groups that together have `quota` jets, of the last one only as many as are missing."""
    kept = []
    for group in groups:
        if quota > 0:
            kept.append(replace(group, jets=min(quota, group.jets)))
            quota -= kept[-1].jets
    return kept
