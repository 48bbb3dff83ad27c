"""Write jets as a ROOT tree with JetClass's branches."""

from pathlib import Path

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from softjet.jets.schema import TREE
from softjet.provenance.files import whole_file

_JAGGED = ("part", "truth_prong", "truth_part")
"""Families of list branches; one counter branch (nparticles-like) holds the lengths of each."""


def write_tree(target: str | Path, flat: dict[str, NDArray], lists: dict[str, ak.Array]) -> None:
    """Write `target` as a whole or not at all.

    Parameters
    ----------
    target : path
        ROOT file.
    flat : dict of name to (n_jets,) array
    lists : dict of name to (n_jets, var) array
        Names start with part_, truth_prong_ or truth_part_; equal lengths within each family.
    """
    branches: dict[str, object] = dict(flat)
    for family in _JAGGED:
        columns = {name.removeprefix(f"{family}_"): lists[name] for name in lists if _family(name) == family}
        branches[family] = ak.zip(columns)
    with whole_file(target) as partial, uproot.recreate(partial, compression=uproot.ZSTD(5)) as root:
        root.mktree(TREE, {name: _kind(column) for name, column in branches.items()})
        root[TREE].extend(branches)


def _family(name: str) -> str:
    return max((family for family in _JAGGED if name.startswith(f"{family}_")), key=len)


def _kind(column: object) -> object:
    return column.dtype if isinstance(column, np.ndarray) else ak.type(column).content
