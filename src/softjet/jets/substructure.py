"""Jet substructure: soft-drop mass, N-subjettiness, energy correlators and exclusive subjets, compiled.

Every function takes the particles of many jets end to end: `momenta` (n, 4) float64 with px, py, pz, E
in GeV, and `offsets` (jets + 1) int64, where jet i owns rows offsets[i] to offsets[i + 1]. Their defaults
are JetClass's definitions. A jet without particles gets zeros; arrays of another shape or with values that
are not finite raise ValueError.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from softjet.jets.clustering import (
    CAMBRIDGE_AACHEN,
    KT,
    Floats,
    Integers,
    cluster,
    distance2,
    rapidity_phi,
    subjet_roots,
)

_MOST_ITERATIONS, _ACCURACY = 1000, 1e-4


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
    taus = _nsubjettiness(*_jets(momenta, offsets), 4, 1.0, 0.8).astype(np.float32)
    return columns | {f"jet_tau{n}": taus[:, n - 1] for n in (1, 2, 3, 4)}


def nsubjettiness(
    momenta: Floats, offsets: Integers, n: int, beta: float = 1.0, radius: float = 0.8
) -> Floats:
    """N-subjettiness tau_n = sum_i pT_i min_k Delta_ik^beta / (sum_i pT_i radius^beta).

    The axes k are the n exclusive kT subjets of the jet, moved to the nearest local minimum of tau_n
    (one pass). J. Thaler, K. Van Tilburg, arXiv 1108.2701, equation 3.2.

    Parameters
    ----------
    momenta, offsets
        Particles of the jets, as in the module's heading.
    n : int
        Number of axes, at least 1.
    beta : float
        Angular exponent between 1 and 2; the refinement is proven to descend for these.
    radius : float
        Radius of the jets, which makes tau dimensionless.

    Returns
    -------
    (jets,) float64 array
        tau_n; zero for a jet with no more than n particles.

    Raises
    ------
    ValueError
        For n < 1 or beta outside [1, 2].
    """
    if n < 1 or not 1 <= beta <= 2:
        raise ValueError(f"nsubjettiness: n = {n} must be at least 1 and beta = {beta} between 1 and 2")
    return _nsubjettiness(*_jets(momenta, offsets), n, float(beta), float(radius))[:, n - 1]


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
    return _soft_drop_mass(*_jets(momenta, offsets), float(z), float(beta), float(radius))


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
    return _exclusive_subjets(*_jets(momenta, offsets), n_subjets)


def energy_correlators(momenta: Floats, offsets: Integers, beta: float = 1.0) -> tuple[Floats, Floats]:
    """Energy correlation functions of two and three particles, normalised to the jet.

    e2 = sum_{i<j} z_i z_j Delta_ij^beta and e3 = sum_{i<j<k} z_i z_j z_k (Delta_ij Delta_ik Delta_jk)^beta
    with z_i = pT_i / sum pT and Delta in rapidity and azimuth, not divided by the jet's radius.
    A. Larkoski, G. Salam, J. Thaler, arXiv 1305.0007: ECF(2) / ECF(1)^2 and ECF(3) / ECF(1)^3.

    Parameters
    ----------
    momenta, offsets
        Particles of the jets, as in the module's heading.
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
    sums = _energy_correlators(*_jets(momenta, offsets), float(beta))
    return sums[:, 0], sums[:, 1]


def c2(e2: Floats, e3: Floats) -> Floats:
    """C2 = e3 / e2^2 (arXiv 1305.0007); zero where e2 is."""
    return np.divide(e3, e2**2, out=np.zeros_like(e3), where=e2 > 0)


def d2(e2: Floats, e3: Floats) -> Floats:
    """D2 = e3 / e2^3 (A. Larkoski, I. Moult, D. Neill, arXiv 1409.6298); zero where e2 is."""
    return np.divide(e3, e2**3, out=np.zeros_like(e3), where=e2 > 0)


def pt_dispersion(momenta: Floats, offsets: Integers) -> Floats:
    """Dispersion pT D = sqrt(sum pT_i^2) / sum pT_i of each jet.

    CMS Collaboration, CMS-PAS-JME-13-002.

    Parameters
    ----------
    momenta, offsets
        Particles of the jets, as in the module's heading.

    Returns
    -------
    (jets,) float64 array
        1 for one particle, 1 / sqrt(n) for n of equal pT.
    """
    return _pt_dispersion(*_jets(momenta, offsets))


def _jets(momenta: Floats, offsets: Integers) -> tuple[Floats, Integers]:
    """Bring the arrays to the one type that is compiled, and refuse what has no direction."""
    momenta, offsets = np.ascontiguousarray(momenta, np.float64), np.ascontiguousarray(offsets, np.int64)
    if momenta.ndim != 2 or momenta.shape[1] != 4 or not np.isfinite(momenta).all():
        raise ValueError(f"momenta of shape {momenta.shape} must be (n, 4), all finite")
    if offsets[0] != 0 or offsets[-1] != len(momenta) or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets must rise from 0 to {len(momenta)}, the number of particles")
    return momenta, offsets


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
def _nsubjettiness(momenta: Floats, offsets: Integers, most: int, beta: float, radius: float) -> Floats:
    """tau_1 to tau_most of every jet, (jets, most), from one clustering a jet."""
    taus = np.zeros((len(offsets) - 1, most))
    for jet in range(len(taus)):
        particles = momenta[offsets[jet] : offsets[jet + 1]]
        if len(particles) == 0:
            continue
        nodes, children = cluster(particles, KT)
        pt = np.hypot(particles[:, 0], particles[:, 1])
        points = _directions(particles)
        for n in range(1, min(most, len(particles) - 1) + 1):
            axes = _refine(points, pt, _directions(nodes[subjet_roots(children, n)]), beta)
            _, nearest2 = _assign(points, axes)
            taus[jet, n - 1] = np.sum(pt * nearest2 ** (beta / 2)) / (np.sum(pt) * radius**beta)
    return taus


@njit(cache=True, nogil=True)
def _pt_dispersion(momenta: Floats, offsets: Integers) -> Floats:
    dispersions = np.zeros(len(offsets) - 1)
    for jet in range(len(dispersions)):
        particles = momenta[offsets[jet] : offsets[jet + 1]]
        pt = np.hypot(particles[:, 0], particles[:, 1])
        total = np.sum(pt)
        if total > 0:
            dispersions[jet] = np.sqrt(np.sum(pt * pt)) / total
    return dispersions


@njit(cache=True, nogil=True)
def _energy_correlators(momenta: Floats, offsets: Integers, beta: float) -> Floats:
    """e2 and e3 of every jet, (jets, 2)."""
    sums = np.zeros((len(offsets) - 1, 2))
    for jet in range(len(sums)):
        particles = momenta[offsets[jet] : offsets[jet + 1]]
        pt = np.hypot(particles[:, 0], particles[:, 1])
        share, angle = pt / np.sum(pt), _angles(_directions(particles), beta)
        for i in range(len(pt)):
            for j in range(i + 1, len(pt)):
                third = 0.0
                for k in range(j + 1, len(pt)):
                    third += share[k] * angle[i, k] * angle[j, k]
                pair = share[i] * share[j] * angle[i, j]
                sums[jet, 0] += pair
                sums[jet, 1] += pair * third
    return sums


@njit(cache=True, nogil=True)
def _angles(points: Floats, beta: float) -> Floats:
    """Delta^beta of every pair of particles, (n, n)."""
    angles = np.zeros((len(points), len(points)))
    for i in range(len(points)):
        for j in range(i):
            d2 = distance2(points[i, 0], points[i, 1], points[j, 0], points[j, 1])
            angles[i, j] = angles[j, i] = d2 ** (beta / 2)
    return angles


@njit(cache=True, nogil=True)
def _directions(momenta: Floats) -> Floats:
    """Rapidity and azimuth of each momentum, (n, 2)."""
    directions = np.empty((len(momenta), 2))
    for i in range(len(momenta)):
        directions[i] = rapidity_phi(momenta[i])
    return directions


@njit(cache=True, nogil=True)
def _assign(points: Floats, axes: Floats) -> tuple[Integers, Floats]:
    """Nearest axis of every particle, and its squared distance."""
    owner, nearest2 = np.zeros(len(points), np.int64), np.full(len(points), np.inf)
    for i in range(len(points)):
        for k in range(len(axes)):
            d2 = distance2(points[i, 0], points[i, 1], axes[k, 0], axes[k, 1])
            if d2 < nearest2[i]:
                owner[i], nearest2[i] = k, d2
    return owner, nearest2


@njit(cache=True, nogil=True)
def _refine(points: Floats, pt: Floats, axes: Floats, beta: float) -> Floats:
    """Move the axes downhill in tau by iteratively reweighted means of the particles nearest to each.

    The minimum over one axis of sum pT Delta^beta satisfies axis = mean with weights pT Delta^(beta - 2),
    which for beta = 1 is Weiszfeld's iteration for the geometric median.
    """
    for _ in range(_MOST_ITERATIONS):
        owner, nearest2 = _assign(points, axes)
        moves, weights = np.zeros_like(axes), np.zeros(len(axes))
        for i, k in enumerate(owner):
            weight = pt[i] * (nearest2[i] + _ACCURACY**2) ** (beta / 2 - 1)
            dphi = points[i, 1] - axes[k, 1]
            moves[k, 0] += weight * (points[i, 0] - axes[k, 0])
            moves[k, 1] += weight * (dphi - 2 * np.pi * np.round(dphi / (2 * np.pi)))
            weights[k] += weight
        length = 0.0
        for k in range(len(axes)):
            if weights[k] > 0:
                axes[k] += moves[k] / weights[k]
                length += np.hypot(moves[k, 0], moves[k, 1]) / weights[k]
        if length < _ACCURACY * len(axes):
            break
    return axes
