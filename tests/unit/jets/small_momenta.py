"""Jets written by hand: four-vectors and offsets."""

import numpy as np


def massless(pt, rapidity, phi):
    """px, py, pz, E, shape (..., 4)."""
    pt, rapidity, phi = np.broadcast_arrays(*map(np.asarray, (pt, rapidity, phi)))
    return np.stack(
        [pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(rapidity), pt * np.cosh(rapidity)], axis=-1
    )


def one_jet(*particles):
    """Momenta and offsets of a single jet."""
    momenta = np.array(particles, float)
    return momenta, np.array([0, len(momenta)])


def random_jet(random, size):
    """Transverse momenta, (size,), and rapidities and azimuths, (size, 2), of a jet about (0, 0)."""
    return random.exponential(50, size) + 1, random.normal(0, 0.3, (size, 2))
