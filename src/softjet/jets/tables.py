"""Arrow tables of jets: their lists as flat arrays, their order, and writing them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from softjet.jets.schema import (
    IDENTITIES,
    JET_COLUMNS,
    JET_OBSERVABLES,
    PARTICLE_COLUMNS,
    PARTICLE_ID,
    TRUTH_PARTICLES,
)

ROW_GROUP = 10_000
"""Jets a Parquet row group: enough to read fast, few enough to hold several in memory."""

MOMENTUM = ("part_px", "part_py", "part_pz", "part_energy")
"""Columns of the particles' four-vectors, GeV."""


def list_lengths(table: pa.Table, name: str) -> NDArray[np.int64]:
    """Length of each jet's list, (jets,)."""
    return pc.list_value_length(table[name]).to_numpy().astype(np.int64)


def list_values(table: pa.Table, name: str) -> NDArray:
    """Values of all jets' lists end to end, in the column's own type."""
    return pc.list_flatten(table[name]).to_numpy()


def list_column(values: NDArray, lengths: NDArray[np.int64], type_: pa.ListType) -> pa.ListArray:
    """Arrow lists of the given lengths from values that stand end to end."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, type_.value_type), type_)


def particle_columns(table: pa.Table) -> list[str]:
    """Columns of the table that are lists over the jet's particles."""
    names = (*PARTICLE_COLUMNS, PARTICLE_ID, *IDENTITIES, *TRUTH_PARTICLES)
    return [name for name in names if name in table.column_names]


def order_by_pt(table: pa.Table) -> NDArray[np.int64]:
    """Places of all particles such that each jet's particles stand in falling pT, (particles,)."""
    px, py = (list_values(table, name).astype(np.float64) for name in MOMENTUM[:2])
    pt, lengths = np.hypot(px, py), list_lengths(table, MOMENTUM[0])
    jet = np.repeat(np.arange(len(lengths)), lengths)
    # Converted tables are in order already, and a look is cheaper than a sort.
    if ((pt[1:] <= pt[:-1]) | (jet[1:] != jet[:-1])).all():
        return np.arange(len(pt))
    return np.lexsort((-pt, jet))


def sort_by_pt(table: pa.Table) -> pa.Table:
    """Put each jet's particles in falling pT, in all their columns alike."""
    order = order_by_pt(table)
    if np.array_equal(order, np.arange(len(order))):
        return table
    for name in particle_columns(table):
        place, field = table.schema.get_field_index(name), table.schema.field(name)
        column = list_column(list_values(table, name)[order], list_lengths(table, name), field.type)
        table = table.set_column(place, field, column)
    return table


def write_jets(table: pa.Table, path: str | Path) -> None:
    """Write a jet table as Parquet: equal content gives equal bytes.

    Parameters
    ----------
    table : pyarrow.Table
        Jets in the schema of `softjet.jets.schema`.
    path : str or path
        The file; give the temporary name of `whole_file`.
    """
    # Floats of one column share their exponents: splitting their bytes makes the file about 15 % smaller.
    floats = [name for name in (*JET_COLUMNS, *JET_OBSERVABLES) if name in table.column_names]
    floats += [f"{name}.list.element" for name in PARTICLE_COLUMNS if name in table.column_names]
    pq.write_table(
        table, path, compression="zstd", row_group_size=ROW_GROUP,
        use_dictionary=["label", "source"], use_byte_stream_split=floats,
    )  # fmt: skip
