"""Substructure that a file holds beside what softjet computes from the file's particles."""

import numpy as np
import pandas as pd
import pyarrow as pa

from softjet.errors import InputError
from softjet.jets.observables import CLUSTERED, add_substructure

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the ratio, that tell its spread."""


def compare_with_file(table: pa.Table, where: str = "jets") -> pd.DataFrame:
    """Both values of every observable that the table holds.

    Parameters
    ----------
    table : pyarrow.Table
        Jets with their particles and some of jet_sdmass, jet_tau1 to jet_tau4.
    where : str
        The file, for errors.

    Returns
    -------
    DataFrame
        A row a jet and observable whose value in the file is above zero: jet (its row), observable, file,
        computed (sdmass in GeV) and ratio = computed / file.

    Raises
    ------
    InputError
        For a table that holds none of them.
    """
    held = [name for name in CLUSTERED if name in table.column_names]
    if not held:
        raise InputError(where, CLUSTERED[0], f"none of {', '.join(CLUSTERED)} is there to compare with")
    computed = add_substructure(table.drop_columns(held))
    columns = [
        {"jet": np.arange(len(table)), "observable": name, "file": table[name], "computed": computed[name]}
        for name in held
    ]
    both = pd.concat([pd.DataFrame(column) for column in columns], ignore_index=True)
    both = both[both.file > 0].reset_index(drop=True)
    return both.assign(ratio=both.computed / both.file)


def spread(both: pd.DataFrame) -> pd.DataFrame:
    """How far single jets lie from the file's value.

    Parameters
    ----------
    both : DataFrame
        Of :func:`compare_with_file`.

    Returns
    -------
    DataFrame
        A row an observable: jets, quantiles of the ratio (q05, q25, q50, q75, q95), and the shares of jets
        within 2 % and 5 % (within_2, within_5).
    """
    rows = []
    for name, ratio in both.groupby("observable", sort=False)["ratio"]:
        quantiles = {f"q{100 * q:02.0f}": np.quantile(ratio, q) for q in QUANTILES}
        within = {f"within_{p}": (abs(ratio - 1) < p / 100).mean() for p in (2, 5)}
        rows.append({"observable": name, "jets": len(ratio), **quantiles, **within})
    return pd.DataFrame(rows)
