"""Sequential clustering of one jet's particles, compiled: the tree that substructure reads.

A tree of n particles has 2n - 1 nodes: the particles first, in their order, then the merged nodes in
order of merging, so that the last node is the whole jet. Merging follows the generalised kT measure
d_ij = min(kT_i^2p, kT_j^2p) Delta_ij^2 without a beam (the jet's radius plays no part), in the E-scheme.
Delta is taken in rapidity and azimuth. M. Cacciari, G. Salam, G. Soyez, arXiv 1111.6097, section 2.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

KT, CAMBRIDGE_AACHEN = 1, 0
"""The power p of the measure."""

BEAM_RAPIDITY = 1e5
"""Rapidity given to a momentum along the beam, where it has none."""


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
def distance2(rapidity_a: float, phi_a: float, rapidity_b: float, phi_b: float) -> float:
    """Squared distance in rapidity and azimuth."""
    dphi = abs(phi_a - phi_b)
    dphi = min(dphi, 2.0 * np.pi - dphi)
    return (rapidity_a - rapidity_b) ** 2 + dphi * dphi


@njit(cache=True, nogil=True)
def _find_nearest(
    node: int, active: Integers, rapidity: Floats, phi: Floats, nearest: Integers, nearest2: Floats
) -> None:
    """Set the nearest other active node of `node`."""
    nearest[node], nearest2[node] = -1, np.inf
    for other in active:
        if other != node:
            d2 = distance2(rapidity[node], phi[node], rapidity[other], phi[other])
            if d2 < nearest2[node]:
                nearest[node], nearest2[node] = other, d2


@njit(cache=True, nogil=True)
def _closest_pair(active: Integers, scale: Floats, nearest: Integers, nearest2: Floats) -> tuple[int, int]:
    """Pair of smallest measure; it is always a node and its nearest neighbour."""
    best, smallest = -1, np.inf
    for node in active:
        measure = min(scale[node], scale[nearest[node]]) * nearest2[node]
        if measure < smallest or best < 0:
            best, smallest = node, measure
    return best, nearest[best]


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
    n = len(momenta)
    nodes, children = np.empty((2 * n - 1, 4)), np.full((2 * n - 1, 2), -1)
    rapidity, phi, scale = np.empty(2 * n - 1), np.empty(2 * n - 1), np.empty(2 * n - 1)
    nearest, nearest2 = np.full(2 * n - 1, -1), np.full(2 * n - 1, np.inf)
    active = np.arange(n)
    nodes[:n] = momenta
    for node in range(n):
        rapidity[node], phi[node] = rapidity_phi(nodes[node])
        scale[node] = (nodes[node, 0] ** 2 + nodes[node, 1] ** 2) ** power
    for node in active:
        _find_nearest(node, active, rapidity, phi, nearest, nearest2)
    for new in range(n, 2 * n - 1):
        a, b = _closest_pair(active, scale, nearest, nearest2)
        children[new], nodes[new] = (a, b), nodes[a] + nodes[b]
        rapidity[new], phi[new] = rapidity_phi(nodes[new])
        scale[new] = (nodes[new, 0] ** 2 + nodes[new, 1] ** 2) ** power
        active = np.append(active[(active != a) & (active != b)], new)
        _find_nearest(new, active, rapidity, phi, nearest, nearest2)
        for node in active[:-1]:
            if nearest[node] == a or nearest[node] == b:
                _find_nearest(node, active, rapidity, phi, nearest, nearest2)
            else:
                d2 = distance2(rapidity[node], phi[node], rapidity[new], phi[new])
                if d2 < nearest2[node]:
                    nearest[node], nearest2[node] = new, d2
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
