"""N-subjettiness of many jets: how little is left beside n axes.

Momenta and offsets are those of `softjet.jets.particles.checked_jets`.
"""

from softjet.jets.kernels import subjettiness
from softjet.jets.particles import Floats, Integers, checked_jets


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
        Particles of the jets, as in :func:`softjet.jets.particles.checked_jets`.
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
    return subjettiness(*checked_jets(momenta, offsets), most, float(beta), float(radius))
