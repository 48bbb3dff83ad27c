"""Compiled loops over jets: clustering, soft drop, subjets, N-subjettiness and energy correlators.

All stand in one file because numba's cache of a compiled function sees changes of its own file only: of a
function in another file it would go on to use an old one. The modules that offer them check their arguments.

A tree of n particles has 2n - 1 nodes: the particles first, in their order, then the merged nodes in
order of merging, so that the last node is the whole jet. Merging follows the generalised kT measure
d_ij = min(kT_i^2p, kT_j^2p) Delta_ij^2 without a beam (the jet's radius plays no part), in the E-scheme.
Delta is taken in rapidity and azimuth. M. Cacciari, G. Salam, G. Soyez, arXiv 1111.6097, section 2.
"""

import numpy as np
from numba import njit

from softjet.jets.particles import Floats, Integers

KT, CAMBRIDGE_AACHEN = 1, 0
"""The power p of the measure."""

BEAM_RAPIDITY = 1e5
"""Rapidity given to a momentum along the beam, where it has none."""

_MOST_ITERATIONS, _ACCURACY = 1000, 1e-4


@njit(cache=True, nogil=True)
def rapidity_phi(momentum: Floats) -> tuple[float, float]:
    """Rapidity and azimuth of (px, py, pz, E); rounding below zero mass counts as massless."""
    px, py, pz, energy = momentum
    pt2 = px * px + py * py
    mass2 = max(0.0, energy * energy - pz * pz - pt2)
    if pt2 + mass2 == 0.0:
        return np.copysign(BEAM_RAPIDITY, pz), 0.0
    rapidity = np.log((energy + abs(pz)) / np.sqrt(pt2 + mass2))
    return np.copysign(rapidity, pz), np.arctan2(py, px)


@njit(cache=True, nogil=True)
def directions(momenta: Floats) -> Floats:
    """Rapidity and azimuth of each momentum, (n, 2)."""
    points = np.empty((len(momenta), 2))
    for i in range(len(momenta)):
        points[i] = rapidity_phi(momenta[i])
    return points


@njit(cache=True, nogil=True)
def distance2(rapidity_a: float, phi_a: float, rapidity_b: float, phi_b: float) -> float:
    """Squared distance in rapidity and azimuth."""
    dphi = abs(phi_a - phi_b)
    dphi = min(dphi, 2.0 * np.pi - dphi)
    return (rapidity_a - rapidity_b) ** 2 + dphi * dphi


@njit(cache=True, nogil=True)
def _describe(node: int, nodes: Floats, power: int, points: Floats, scale: Floats) -> None:
    """Set rapidity, azimuth and kT^2p of a node."""
    points[node, 0], points[node, 1] = rapidity_phi(nodes[node])
    scale[node] = (nodes[node, 0] ** 2 + nodes[node, 1] ** 2) ** power


@njit(cache=True, nogil=True)
def _find_nearest(node: int, active: Integers, points: Floats, nearest: Integers, nearest2: Floats) -> None:
    """Set the nearest other active node of `node`."""
    nearest[node], nearest2[node] = -1, np.inf
    for other in active:
        if other != node:
            d2 = distance2(points[node, 0], points[node, 1], points[other, 0], points[other, 1])
            if d2 < nearest2[node]:
                nearest[node], nearest2[node] = other, d2


@njit(cache=True, nogil=True)
def _update_nearest(
    a: int, b: int, new: int, active: Integers, points: Floats, nearest: Integers, nearest2: Floats
) -> None:
    """Set the nearest neighbours right after `a` and `b` have merged into `new`."""
    for node in active:
        if node == new or nearest[node] == a or nearest[node] == b:
            _find_nearest(node, active, points, nearest, nearest2)
        else:
            d2 = distance2(points[node, 0], points[node, 1], points[new, 0], points[new, 1])
            if d2 < nearest2[node]:
                nearest[node], nearest2[node] = new, d2


@njit(cache=True, nogil=True)
def _closest_pair(active: Integers, scale: Floats, nearest: Integers, nearest2: Floats) -> tuple[int, int]:
    """Pair of smallest measure; it is always a node and its nearest neighbour."""
    best, smallest = active[0], np.inf
    for node in active:
        measure = min(scale[node], scale[nearest[node]]) * nearest2[node]
        if measure < smallest:
            best, smallest = node, measure
    return best, nearest[best]


@njit(cache=True, nogil=True)
def _replace_pair(active: Integers, a: int, b: int, new: int) -> Integers:
    """Put `new` in the place of `a` and the last active node in the place of `b`."""
    for place in range(len(active)):
        if active[place] == a:
            active[place] = new
    for place in range(len(active)):
        if active[place] == b:
            active[place] = active[-1]
    return active[:-1]


@njit(cache=True, nogil=True)
def cluster(momenta: Floats, power: int) -> tuple[Floats, Integers]:
    """Cluster all particles of a jet into one tree.

    Parameters
    ----------
    momenta : (n, 4) float64 array
        px, py, pz, E in GeV, n >= 1.
    power : int
        `KT` or `CAMBRIDGE_AACHEN`.

    Returns
    -------
    nodes : (2n - 1, 4) float64 array
        Momenta of particles and merged nodes, GeV.
    children : (2n - 1, 2) int64 array
        The two nodes that each merged node is made of; -1 for particles.
    """
    n, size = len(momenta), 2 * len(momenta) - 1
    nodes, points, scale = np.empty((size, 4)), np.empty((size, 2)), np.empty(size)
    children, active = np.full((size, 2), -1), np.arange(n)
    nearest, nearest2 = np.full(size, -1), np.full(size, np.inf)
    nodes[:n] = momenta
    for node in range(n):
        _describe(node, nodes, power, points, scale)
    for node in range(n):
        _find_nearest(node, active, points, nearest, nearest2)
    for new in range(n, size):
        a, b = _closest_pair(active, scale, nearest, nearest2)
        children[new, 0], children[new, 1] = a, b
        nodes[new] = nodes[a] + nodes[b]
        _describe(new, nodes, power, points, scale)
        active = _replace_pair(active, a, b, new)
        _update_nearest(a, b, new, active, points, nearest, nearest2)
    return nodes, children


@njit(cache=True, nogil=True)
def subjet_roots(children: Integers, n_subjets: int) -> Integers:
    """Nodes that are left when the last merges are undone until `n_subjets` remain (or all particles)."""
    n = (len(children) + 1) // 2
    wanted = min(n_subjets, n)
    first_undone = 2 * n - wanted
    roots, found = np.empty(wanted, np.int64), 0
    for node in range(first_undone, 2 * n - 1):
        for child in children[node]:
            if child < first_undone:
                roots[found] = child
                found += 1
    if wanted == 1:
        roots[0] = 2 * n - 2
    return roots


@njit(cache=True, nogil=True)
def soft_drop_masses(momenta: Floats, offsets: Integers, z: float, beta: float, radius: float) -> Floats:
    """Soft-drop mass of every jet, GeV, (jets,)."""
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
def subjet_labels(momenta: Floats, offsets: Integers, n_subjets: int) -> Integers:
    """Place in falling pT of the exclusive kT subjet of every particle, (n,)."""
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
def first_partners(momenta: Floats, offsets: Integers, power: int) -> Integers:
    """Place in its jet of what each particle merges with first, (n,); -1 in a jet of one."""
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


@njit(cache=True, nogil=True)
def subjettiness(momenta: Floats, offsets: Integers, most: int, beta: float, radius: float) -> Floats:
    """tau_1 to tau_most of every jet, (jets, most), from one clustering a jet."""
    taus = np.zeros((len(offsets) - 1, most))
    for jet in range(len(taus)):
        particles = momenta[offsets[jet] : offsets[jet + 1]]
        pt = np.hypot(particles[:, 0], particles[:, 1])
        if np.sum(pt) == 0.0:
            continue
        nodes, children = cluster(particles, KT)
        points = directions(particles)
        for n in range(1, min(most, len(particles) - 1) + 1):
            axes = _refine(points, pt, directions(nodes[subjet_roots(children, n)]), beta)
            _, nearest2 = _assign(points, axes)
            taus[jet, n - 1] = np.sum(pt * nearest2 ** (beta / 2)) / (np.sum(pt) * radius**beta)
    return taus


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


@njit(cache=True, nogil=True)
def correlator_sums(momenta: Floats, offsets: Integers, beta: float) -> Floats:
    """e2 and e3 of every jet, (jets, 2)."""
    sums = np.zeros((len(offsets) - 1, 2))
    for jet in range(len(sums)):
        particles = momenta[offsets[jet] : offsets[jet + 1]]
        pt = np.hypot(particles[:, 0], particles[:, 1])
        total = np.sum(pt)
        if total > 0.0:
            sums[jet] = _sums(pt / total, _angles(directions(particles), beta))
    return sums


# Sums in any order, so that several terms are added at once.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _sums(share: Floats, angle: Floats) -> tuple[float, float]:
    """e2 and e3 of one jet."""
    e2, e3 = 0.0, 0.0
    for i in range(len(share)):
        weighted = share * angle[i]
        for j in range(i):
            row, third = angle[j], 0.0
            for k in range(j):
                third += weighted[k] * row[k]
            pair = weighted[j] * share[i]
            e2 += pair
            e3 += pair * third
    return e2, e3


@njit(cache=True, nogil=True)
def _angles(points: Floats, beta: float) -> Floats:
    """Delta^beta of every pair of particles, (n, n)."""
    angles = np.zeros((len(points), len(points)))
    for i in range(len(points)):
        for j in range(i):
            d2 = distance2(points[i, 0], points[i, 1], points[j, 0], points[j, 1])
            # A root takes a fraction of the time of a power.
            angles[i, j] = angles[j, i] = np.sqrt(d2) if beta == 1 else d2 ** (beta / 2)
    return angles


@njit(cache=True, nogil=True)
def dispersions_of_pt(momenta: Floats, offsets: Integers) -> Floats:
    """Dispersion pT D of every jet, (jets,)."""
    dispersions = np.zeros(len(offsets) - 1)
    for jet in range(len(dispersions)):
        particles = momenta[offsets[jet] : offsets[jet + 1]]
        pt = np.hypot(particles[:, 0], particles[:, 1])
        total = np.sum(pt)
        if total > 0:
            dispersions[jet] = np.sqrt(np.sum(pt * pt)) / total
    return dispersions
