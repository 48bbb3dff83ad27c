"""The formats that jets can be read from, by the name that `datasets.*.source` gives them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from softjet.jets.check import find_bad_jets, refuse
from softjet.jets.readers.jetclass import inspect_jetclass, read_jetclass
from softjet.jets.readers.parquet import inspect_parquet, read_parquet
from softjet.jets.readers.pieces import JetFile
from softjet.jets.readers.quark_gluon import FACTS as QUARK_GLUON
from softjet.jets.readers.quark_gluon import inspect_quark_gluon, read_quark_gluon
from softjet.jets.readers.top_landscape import FACTS as TOP_LANDSCAPE
from softjet.jets.readers.top_landscape import inspect_top_landscape, read_top_landscape
from softjet.jets.schema import JETCLASS, JetFacts


@dataclass(frozen=True)
class Format:
    """A file format: what it says of its jets, how a file is checked, and how jets are read.

    A Parquet file may say something else in its metadata; the schema that `inspect` gives holds it.
    """

    facts: JetFacts
    inspect: Callable[[str | Path], JetFile]
    read: Callable[[Iterable[str | Path]], Iterator[pa.Table]]


FORMATS = {
    "simulation": Format(JETCLASS, inspect_jetclass, read_jetclass),
    "jetclass": Format(JETCLASS, inspect_jetclass, read_jetclass),
    "top_landscape": Format(TOP_LANDSCAPE, inspect_top_landscape, read_top_landscape),
    "quark_gluon": Format(QUARK_GLUON, inspect_quark_gluon, read_quark_gluon),
    "parquet": Format(JETCLASS, inspect_parquet, read_parquet),
}
"""Format of each `source` of a dataset."""


def read_reference(path: str | Path) -> pa.Table:
    """All jets of a Parquet file to compare with, in the columns that it has and kinematics.

    Raises
    ------
    InputError
        As `read_parquet`, and where a jet is not sound; it may be of a class of its own.
    """
    table = pa.concat_tables(read_parquet([path]))
    if bad := [jet for jet in find_bad_jets(table) if not jet.field.startswith("label")]:
        raise refuse(bad[0], table, path, "leave that jet out")
    return table
