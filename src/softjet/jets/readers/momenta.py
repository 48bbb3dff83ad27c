"""Jet kinematics and particle angles where a format gives particles only."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

AXIS = ("jet_pt", "jet_eta", "jet_phi", "jet_energy")
"""Kinematics of a jet."""

KINEMATICS = (*AXIS, "jet_nparticles", "part_deta", "part_dphi")
"""Columns that follow from the particles' four-vectors."""

Values = NDArray[np.float64]


def kinematics(
    momenta: NDArray, lengths: NDArray[np.int64], given: Mapping[str, NDArray] | None = None
) -> dict[str, NDArray]:
    """Compute the jet's and the particles' kinematics from four-vectors, in float64.

    The jet is the sum of its constituents. `part_deta` is (eta - jet_eta) times the sign of jet_eta (plus
    where it is zero) and `part_dphi` lies in [-pi, pi): as the data that the published Top and quark-gluon
    results come from (arXiv 2202.03772) has them. eta is pseudorapidity.

    Parameters
    ----------
    momenta : (particles, 4) array
        px, py, pz, energy in GeV, jets end to end.
    lengths : (jets,) int64 array
        Particles of each jet.
    given : mapping, optional
        What the file has of `AXIS` itself, (jets,) each; particles are taken relative to that.

    Returns
    -------
    dict of name to array
        `KINEMATICS`. Values of unsound particles are not finite.
    """
    momenta = momenta.astype(np.float64)
    jet = np.repeat(np.arange(len(lengths)), lengths)
    with np.errstate(all="ignore"):
        total = [np.bincount(jet, column, len(lengths)).astype(np.float64) for column in momenta.T]
        pt, eta, phi = _cylindrical(*total[:3])
        axis = dict(zip(AXIS, (pt, eta, phi, total[3]), strict=True)) | dict(given or {})
        _, part_eta, part_phi = _cylindrical(*momenta.T[:3])
        side = np.where(axis["jet_eta"] < 0, -1.0, 1.0)
        deta = (part_eta - axis["jet_eta"][jet]) * side[jet]
        dphi = (part_phi - axis["jet_phi"][jet] + np.pi) % (2 * np.pi) - np.pi
    return axis | {"jet_nparticles": lengths, "part_deta": deta, "part_dphi": dphi}


def _cylindrical(px: Values, py: Values, pz: Values) -> tuple[Values, Values, Values]:
    """Transverse momentum, pseudorapidity and azimuth; a null vector has pseudorapidity zero."""
    pt = np.hypot(px, py)
    return pt, np.where(pz == 0, 0.0, np.arcsinh(pz / pt)), np.arctan2(py, px)
