"""Sequential clustering of one jet's particles, compiled: the tree that substructure reads.

A tree of n particles has 2n - 1 nodes: the particles first, in their order, then the merged nodes in
order of merging, so that the last node is the whole jet. Merging follows the generalised kT measure
d_ij = min(kT_i^2p, kT_j^2p) Delta_ij^2 without a beam (the jet's radius plays no part), in the E-scheme.
Delta is taken in rapidity and azimuth. M. Cacciari, G. Salam, G. Soyez, arXiv 1111.6097, section 2.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from softjet.errors import InputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

KT, CAMBRIDGE_AACHEN = 1, 0
"""The power p of the measure."""

BEAM_RAPIDITY = 1e5
"""Rapidity given to a momentum along the beam, where it has none."""


def checked_jets(momenta: Floats, offsets: Integers) -> tuple[Floats, Integers]:
    """Bring the particles of many jets to the one type that is compiled, and refuse what has no direction.

    Parameters
    ----------
    momenta : (n, 4) array
        px, py, pz, E of all jets' particles end to end, GeV.
    offsets : (jets + 1) array
        Jet i owns rows offsets[i] to offsets[i + 1].

    Returns
    -------
    momenta, offsets
        The same as contiguous float64 and int64.

    Raises
    ------
    InputError
        For another shape, values that are not finite, or offsets that do not fit.
    """
    momenta, offsets = np.ascontiguousarray(momenta, np.float64), np.ascontiguousarray(offsets, np.int64)
    if momenta.ndim != 2 or momenta.shape[1] != 4:
        raise InputError("particles of jets", "momenta", f"have shape {momenta.shape}; it must be (n, 4)")
    bad = np.flatnonzero(~np.isfinite(momenta).all(axis=1))
    if len(bad):
        raise InputError("particles of jets", "momenta", f"row {bad[0]} must be finite; leave that jet out")
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(momenta) or (np.diff(offsets) < 0).any():
        raise InputError("particles of jets", "offsets", f"must rise from 0 to {len(momenta)}, the particles")
    return momenta, offsets


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
