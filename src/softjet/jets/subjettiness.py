"""N-subjettiness of many jets, compiled: how little is left beside n axes.

Momenta and offsets are those of `softjet.jets.clustering.checked_jets`.
"""

import numpy as np
from numba import njit

from softjet.jets.clustering import (
    KT,
    Floats,
    Integers,
    checked_jets,
    cluster,
    directions,
    distance2,
    subjet_roots,
)

_MOST_ITERATIONS, _ACCURACY = 1000, 1e-4


def nsubjettiness(
    momenta: Floats, offsets: Integers, n: int, beta: float = 1.0, radius: float = 0.8
) -> Floats:
    """N-subjettiness tau_n = sum_i pT_i min_k Delta_ik^beta / (sum_i pT_i radius^beta).

    The axes k are the n exclusive kT subjets of the jet, moved to the nearest local minimum of tau_n
    (one pass): FastJet contrib's OnePass_KT_Axes with its NormalizedMeasure.
    J. Thaler, K. Van Tilburg, arXiv 1108.2701, equation 3.2.

    Parameters
    ----------
    momenta, offsets
        Particles of the jets, as in :func:`softjet.jets.clustering.checked_jets`.
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
    return nsubjettiness_up_to(momenta, offsets, n, beta, radius)[:, -1]


def nsubjettiness_up_to(
    momenta: Floats, offsets: Integers, most: int, beta: float = 1.0, radius: float = 0.8
) -> Floats:
    """tau_1 to tau_most, (jets, most), from one clustering a jet; otherwise as :func:`nsubjettiness`."""
    if most < 1 or not 1 <= beta <= 2:
        raise ValueError(f"nsubjettiness: n = {most} must be at least 1 and beta = {beta} between 1 and 2")
    return _nsubjettiness(*checked_jets(momenta, offsets), most, float(beta), float(radius))


@njit(cache=True, nogil=True)
def _nsubjettiness(momenta: Floats, offsets: Integers, most: int, beta: float, radius: float) -> Floats:
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
