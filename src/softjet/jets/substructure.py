"""Jet substructure: soft drop, N-subjettiness, energy correlators, exclusive subjets and merge partners.

Every function takes the particles of many jets end to end: `momenta` (n, 4) float64 with px, py, pz, E
in GeV, and `offsets` (jets + 1) int64, where jet i owns rows offsets[i] to offsets[i + 1]. Their defaults
are JetClass's definitions. A jet without particles gets zeros; arrays of another shape or with values that
are not finite raise InputError, a ValueError.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from softjet.jets.correlators import energy_correlators, pt_dispersion
from softjet.jets.kernels import CAMBRIDGE_AACHEN, KT, first_partners, soft_drop_masses, subjet_labels
from softjet.jets.particles import Floats, Integers, checked_jets
from softjet.jets.subjettiness import nsubjettiness, nsubjettiness_up_to

__all__ = [
    "energy_correlators",
    "exclusive_subjets",
    "jet_substructure",
    "merge_partners",
    "nsubjettiness",
    "pt_dispersion",
    "soft_drop_mass",
]

_POWER = {"kt": KT, "cambridge_aachen": CAMBRIDGE_AACHEN}


def jet_substructure(momenta: Floats, offsets: Integers) -> dict[str, NDArray[np.float32]]:
    """Soft-drop mass (GeV) and tau_1 to tau_4 by JetClass's definitions, named as in the jet table.

    Parameters
    ----------
    momenta : (n, 4) float64 array
        px, py, pz, E of all jets' particles, GeV.
    offsets : (jets + 1) int64 array
        Where each jet begins and ends.

    Returns
    -------
    dict of (jets,) float32 arrays
        jet_sdmass, jet_tau1, jet_tau2, jet_tau3, jet_tau4.
    """
    columns = {"jet_sdmass": soft_drop_mass(momenta, offsets).astype(np.float32)}
    taus = nsubjettiness_up_to(momenta, offsets, 4).astype(np.float32)
    return columns | {f"jet_tau{n}": taus[:, n - 1] for n in (1, 2, 3, 4)}


def soft_drop_mass(
    momenta: Floats, offsets: Integers, z: float = 0.1, beta: float = 0.0, radius: float = 0.8
) -> Floats:
    """Mass of the jet after soft drop, GeV.

    The Cambridge/Aachen tree is followed from the top along the harder branch until a split has
    pT_min / (pT_1 + pT_2) > z (Delta / radius)^beta; where none has, the last particle is left.
    A. Larkoski, S. Marzani, G. Soyez, J. Thaler, arXiv 1402.2657, equation 1.1.

    Parameters
    ----------
    momenta, offsets
        Particles of the jets, as in the module's heading.
    z, beta, radius : float
        Cut, angular exponent and radius of the condition.

    Returns
    -------
    (jets,) float64 array
        Groomed mass; a mass squared below zero by rounding counts as zero.
    """
    return soft_drop_masses(*checked_jets(momenta, offsets), float(z), float(beta), float(radius))


def exclusive_subjets(momenta: Floats, offsets: Integers, n_subjets: int) -> Integers:
    """Label of the exclusive kT subjet that each particle belongs to.

    Parameters
    ----------
    momenta, offsets
        Particles of the jets, as in the module's heading.
    n_subjets : int
        Subjets a jet, 1 at least; a jet of fewer particles has one a particle.

    Returns
    -------
    (n,) int64 array
        0 for the hardest subjet (in pT) of the particle's jet, and so on; never -1, as every particle
        belongs to a subjet.

    Raises
    ------
    ValueError
        For fewer than one subjet.
    """
    if n_subjets < 1:
        raise ValueError(f"exclusive_subjets: n_subjets {n_subjets} must be 1 or more")
    return subjet_labels(*checked_jets(momenta, offsets), n_subjets)


def merge_partners(
    momenta: Floats, offsets: Integers, algorithm: Literal["kt", "cambridge_aachen"]
) -> Integers:
    """Particle that each particle merges with first.

    Parameters
    ----------
    momenta, offsets
        Particles of the jets, as in the module's heading.
    algorithm : "kt" or "cambridge_aachen"
        Measure of the clustering, of which no jet radius is part.

    Returns
    -------
    (n,) int64 array
        Place in its jet of the partner, or of the hardest particle (in pT) where the partner is a subjet;
        -1 for the particle of a jet of one.

    Raises
    ------
    ValueError
        For another algorithm.
    """
    if algorithm not in _POWER:
        raise ValueError(f"merge_partners: algorithm {algorithm!r} must be one of {sorted(_POWER)}")
    return first_partners(*checked_jets(momenta, offsets), _POWER[algorithm])
