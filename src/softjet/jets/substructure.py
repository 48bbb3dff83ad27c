"""Jet substructure: soft drop, N-subjettiness, energy correlators, exclusive subjets and merge partners.

Every function takes the particles of many jets end to end: `momenta` (n, 4) float64 with px, py, pz, E
in GeV, and `offsets` (jets + 1) int64, where jet i owns rows offsets[i] to offsets[i + 1]. Their defaults
are JetClass's definitions. A jet without particles gets zeros; arrays of another shape or with values that
are not finite raise InputError, a ValueError.
"""

from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from softjet.jets.clustering import (
    CAMBRIDGE_AACHEN,
    KT,
    Floats,
    Integers,
    checked_jets,
    cluster,
    distance2,
    rapidity_phi,
    subjet_roots,
)
from softjet.jets.correlators import energy_correlators, pt_dispersion
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
    return _soft_drop_mass(*checked_jets(momenta, offsets), float(z), float(beta), float(radius))


def exclusive_subjets(momenta: Floats, offsets: Integers, n_subjets: int) -> Integers:
    """Label of the exclusive kT subjet that each particle belongs to.

    Parameters
    ----------
    momenta, offsets
        Particles of the jets, as in the module's heading.
    n_subjets : int
        Subjets a jet; a jet of fewer particles has one a particle.

    Returns
    -------
    (n,) int64 array
        0 for the hardest subjet (in pT) of the particle's jet, and so on; never -1, as every particle
        belongs to a subjet.
    """
    return _exclusive_subjets(*checked_jets(momenta, offsets), n_subjets)


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
    return _merge_partners(*checked_jets(momenta, offsets), _POWER[algorithm])


@njit(cache=True, nogil=True)
def _soft_drop_mass(momenta: Floats, offsets: Integers, z: float, beta: float, radius: float) -> Floats:
    masses = np.zeros(len(offsets) - 1)
    for jet in range(len(masses)):
        particles = momenta[offsets[jet] : offsets[jet + 1]]
        if len(particles) > 0:
            nodes, children = cluster(particles, CAMBRIDGE_AACHEN)
            px, py, pz, energy = nodes[_groomed(nodes, children, z, beta, radius)]
            masses[jet] = np.sqrt(max(0.0, energy * energy - px * px - py * py - pz * pz))
    return masses


@njit(cache=True, nogil=True)
def _groomed(nodes: Floats, children: Integers, z: float, beta: float, radius: float) -> int:
    """Node at which soft drop stops."""
    node = len(nodes) - 1
    while children[node, 0] >= 0:
        a, b = children[node]
        pt_a, pt_b = np.hypot(nodes[a, 0], nodes[a, 1]), np.hypot(nodes[b, 0], nodes[b, 1])
        (y_a, phi_a), (y_b, phi_b) = rapidity_phi(nodes[a]), rapidity_phi(nodes[b])
        angle = np.sqrt(distance2(y_a, phi_a, y_b, phi_b)) / radius
        if min(pt_a, pt_b) > z * angle**beta * (pt_a + pt_b):
            break
        node = a if pt_a > pt_b else b
    return node


@njit(cache=True, nogil=True)
def _exclusive_subjets(momenta: Floats, offsets: Integers, n_subjets: int) -> Integers:
    labels = np.empty(len(momenta), np.int64)
    for jet in range(len(offsets) - 1):
        first, last = offsets[jet], offsets[jet + 1]
        if last > first:
            nodes, children = cluster(momenta[first:last], KT)
            labels[first:last] = _leaf_labels(nodes, children, subjet_roots(children, n_subjets))
    return labels


@njit(cache=True, nogil=True)
def _leaf_labels(nodes: Floats, children: Integers, roots: Integers) -> Integers:
    """Give every particle the place of its root in falling pT."""
    labels = np.full(len(nodes), -1)
    pt = np.hypot(nodes[roots, 0], nodes[roots, 1])
    for place, root in enumerate(np.argsort(-pt)):
        labels[roots[root]] = place
    for node in range(len(nodes) - 1, (len(nodes) + 1) // 2 - 1, -1):
        if labels[node] >= 0:
            labels[children[node]] = labels[node]
    return labels[: (len(nodes) + 1) // 2]


@njit(cache=True, nogil=True)
def _merge_partners(momenta: Floats, offsets: Integers, power: int) -> Integers:
    partners = np.full(len(momenta), -1)
    for jet in range(len(offsets) - 1):
        first, last = offsets[jet], offsets[jet + 1]
        if last > first:
            nodes, children = cluster(momenta[first:last], power)
            hardest = _hardest_particles(nodes, children)
            for a, b in children[last - first :]:
                if a < last - first:
                    partners[first + a] = hardest[b]
                if b < last - first:
                    partners[first + b] = hardest[a]
    return partners


@njit(cache=True, nogil=True)
def _hardest_particles(nodes: Floats, children: Integers) -> Integers:
    """Particle of largest pT below each node."""
    hardest, pt = np.arange(len(nodes)), np.hypot(nodes[:, 0], nodes[:, 1])
    for node in range((len(nodes) + 1) // 2, len(nodes)):
        a, b = hardest[children[node, 0]], hardest[children[node, 1]]
        hardest[node] = a if pt[a] >= pt[b] else b
    return hardest
