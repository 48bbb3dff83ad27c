"""Traditional observables of jets, and what a network's inputs say of a jet without any network."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from softjet.attention.reading import Jets
from softjet.jets.observables import add_substructure

Floats = NDArray[np.float64]

OBSERVABLES = (
    "tau1", "tau2", "tau3", "tau4", "tau21", "tau32", "c2", "d2", "ln_sdmass", "multiplicity", "ptd",
)  # fmt: skip
"""tau21 and tau32 are tau2 / tau1 and tau3 / tau2; ln_sdmass is ln of the soft-drop mass in GeV."""

LEAST_MASS = 1.0
"""Soft-drop mass in GeV below which all masses count alike: jets without a split have next to none."""


def observables(table: pa.Table) -> Floats:
    """Traditional observables of jets, (J, O) in the order of `OBSERVABLES`, NaN where undefined.

    Parameters
    ----------
    table : Table
        Jets; substructure that it lacks is computed from all of their particles.
    """
    table = add_substructure(table)
    taus, mass = [_column(table, f"jet_tau{n}") for n in (1, 2, 3, 4)], _column(table, "jet_sdmass")
    ratios = [
        np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
        for above, below in ((taus[1], taus[0]), (taus[2], taus[1]))
    ]
    others = [_column(table, f"jet_{name}") for name in ("c2", "d2", "nparticles", "ptd")]
    return np.stack([*taus, *ratios, *others[:2], np.log(np.maximum(mass, LEAST_MASS)), *others[2:]], axis=1)


def simple_inputs(jets: Jets) -> Floats:
    """What the model's inputs say of a jet without any network, (B, 2F + 2); see `Readings`."""
    features = jets.features.double().masked_fill(~jets.mask, 0)
    total, n = features.sum(2).cpu().numpy(), jets.n.cpu().numpy()[:, None]
    return np.concatenate([total / n, total, n, _column(jets.table, "jet_pt")[:, None]], axis=1)


def _column(table: pa.Table, name: str) -> Floats:
    return table[name].to_numpy().astype(np.float64)
