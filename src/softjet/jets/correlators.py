"""Energy correlation functions of many jets and their ratios, and the dispersion pT D.

Momenta and offsets are those of `softjet.jets.particles.checked_jets`.
"""

import numpy as np

from softjet.jets.kernels import correlator_sums, dispersions_of_pt
from softjet.jets.particles import Floats, Integers, checked_jets


def energy_correlators(momenta: Floats, offsets: Integers, beta: float = 1.0) -> tuple[Floats, Floats]:
    """Energy correlation functions of two and three particles, normalised to the jet.

    e2 = sum_{i<j} z_i z_j Delta_ij^beta and e3 = sum_{i<j<k} z_i z_j z_k (Delta_ij Delta_ik Delta_jk)^beta
    with z_i = pT_i / sum pT and Delta in rapidity and azimuth, not divided by the jet's radius.
    A. Larkoski, G. Salam, J. Thaler, arXiv 1305.0007: ECF(2) / ECF(1)^2 and ECF(3) / ECF(1)^3.

    Parameters
    ----------
    momenta, offsets
        Particles of the jets, as in :func:`softjet.jets.particles.checked_jets`.
    beta : float
        Angular exponent, above 0.

    Returns
    -------
    e2, e3 : (jets,) float64 arrays
        e2 is zero for fewer than two particles, e3 for fewer than three.

    Raises
    ------
    ValueError
        For beta not above 0.
    """
    if not beta > 0:
        raise ValueError(f"energy_correlators: beta = {beta} must be above 0")
    sums = correlator_sums(*checked_jets(momenta, offsets), float(beta))
    return sums[:, 0], sums[:, 1]


def c2(e2: Floats, e3: Floats) -> Floats:
    """C2 = e3 / e2^2, (jets,): small for two prongs; zero for a jet of one or two particles.

    A. Larkoski, G. Salam, J. Thaler, arXiv 1305.0007: ECF(3) ECF(1) / ECF(2)^2.
    """
    return _ratio(e3, e2**2)


def d2(e2: Floats, e3: Floats) -> Floats:
    """D2 = e3 / e2^3, (jets,): small for two prongs; zero for a jet of one or two particles.

    A. Larkoski, I. Moult, D. Neill, arXiv 1409.6298: ECF(3) ECF(1)^3 / ECF(2)^3.
    """
    return _ratio(e3, e2**3)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def pt_dispersion(momenta: Floats, offsets: Integers) -> Floats:
    """Dispersion pT D = sqrt(sum pT_i^2) / sum pT_i of each jet.

    CMS Collaboration, CMS-PAS-JME-13-002.

    Parameters
    ----------
    momenta, offsets
        Particles of the jets, as in :func:`softjet.jets.particles.checked_jets`.

    Returns
    -------
    (jets,) float64 array
        1 for one particle, 1 / sqrt(n) for n of equal pT, zero for a jet without transverse momentum.
    """
    return dispersions_of_pt(*checked_jets(momenta, offsets))
