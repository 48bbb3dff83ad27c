"""Particles of many jets end to end: the arrays that substructure takes."""

import numpy as np
from numpy.typing import NDArray

from softjet.errors import InputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


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
        For another shape, values that are not finite, a momentum without a positive energy, or offsets
        that do not fit.
    """
    momenta, offsets = np.ascontiguousarray(momenta, np.float64), np.ascontiguousarray(offsets, np.int64)
    if momenta.ndim != 2 or momenta.shape[1] != 4:
        raise InputError("particles of jets", "momenta", f"have shape {momenta.shape}; it must be (n, 4)")
    bad = np.flatnonzero(~np.isfinite(momenta).all(axis=1))
    if len(bad):
        raise InputError("particles of jets", "momenta", f"row {bad[0]} must be finite; leave that jet out")
    cold = np.flatnonzero((momenta[:, 3] <= 0) & momenta.any(axis=1))  # rapidity asks for an energy
    if len(cold):
        problem = f"row {cold[0]} has no positive energy, and is not all zeros; leave that particle out"
        raise InputError("particles of jets", "momenta", problem)
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(momenta) or (np.diff(offsets) < 0).any():
        raise InputError("particles of jets", "offsets", f"must rise from 0 to {len(momenta)}, the particles")
    return momenta, offsets
