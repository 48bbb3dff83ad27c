"""Substructure observables as columns of the jet table: what a file lacks is computed from its particles."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from softjet.jets.correlators import c2, d2, energy_correlators, pt_dispersion
from softjet.jets.particles import Floats, Integers
from softjet.jets.substructure import jet_substructure
from softjet.jets.tables import MOMENTUM, list_lengths, list_values

CLUSTERED = ("jet_sdmass", "jet_tau1", "jet_tau2", "jet_tau3", "jet_tau4")
"""Observables that JetClass's files hold too; soft-drop mass in GeV."""

CORRELATORS = ("jet_c2", "jet_d2", "jet_ptd")
"""Observables that no file holds; all without unit, with beta = 1."""


def add_substructure(table: pa.Table) -> pa.Table:
    """Add those of jet_sdmass, jet_tau1 to jet_tau4, jet_c2, jet_d2 and jet_ptd that the table lacks.

    Parameters
    ----------
    table : pyarrow.Table
        Jets with part_px, part_py, part_pz and part_energy (lists, GeV).

    Returns
    -------
    pyarrow.Table
        The same columns and, after them, the missing ones (float32).

    Raises
    ------
    InputError
        For a momentum that is not finite: leave such jets out first.
    """
    momenta, offsets = momenta_of(table)
    for names, compute in _COMPUTE.items():
        missing = [name for name in names if name not in table.column_names]
        columns = compute(momenta, offsets) if missing else {}
        for name in missing:
            table = table.append_column(name, pa.array(columns[name].astype(np.float32)))
    return table


def momenta_of(table: pa.Table) -> tuple[Floats, Integers]:
    """Particles of a jet table end to end: px, py, pz, E (n, 4) in GeV, and the jets' offsets, (jets + 1)."""
    momenta = np.stack([list_values(table, name).astype(np.float64) for name in MOMENTUM], axis=1)
    return momenta, np.append(0, np.cumsum(list_lengths(table, MOMENTUM[0])))


def correlators(momenta: Floats, offsets: Integers) -> dict[str, Floats]:
    """C2 and D2 (beta = 1) and pT D, named as in the jet table; each (jets,)."""
    e2, e3 = energy_correlators(momenta, offsets)
    return {"jet_c2": c2(e2, e3), "jet_d2": d2(e2, e3), "jet_ptd": pt_dispersion(momenta, offsets)}


_COMPUTE: dict[tuple[str, ...], Callable] = {CLUSTERED: jet_substructure, CORRELATORS: correlators}
