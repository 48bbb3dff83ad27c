"""Arrays of collisions: a batch of event records laid end to end."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray


class Columns:
    """Columns of equal length, indexed together: a base for dataclasses of arrays."""

    def __getitem__(self, pick: NDArray) -> Self:
        return type(self)(*(getattr(self, field.name)[pick] for field in fields(self)))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]


class Momenta:
    """What follows from the columns px, py and pz (GeV) of whatever holds them."""

    px: NDArray[np.float64]
    py: NDArray[np.float64]
    pz: NDArray[np.float64]

    @property
    def pt(self) -> NDArray[np.float64]:
        """Transverse momentum in GeV."""
        return np.hypot(self.px, self.py)

    @property
    def eta(self) -> NDArray[np.float64]:
        """Pseudorapidity."""
        return pseudorapidity(self.px, self.py, self.pz)

    @property
    def phi(self) -> NDArray[np.float64]:
        """Azimuth."""
        return np.arctan2(self.py, self.px)


@dataclass(frozen=True)
class Records(Columns, Momenta):
    """Entries of event records, all (n,): Pythia's numbering, with mothers as places in these arrays.

    `event` is the number of the event in the batch; `mother` and `last_mother` bound the range of mothers;
    the first entry of an event stands for the whole event and is its own mother. Momenta px, py, pz, e in
    GeV; production vertex x, y, z in mm; charge in units of e.
    """

    event: NDArray[np.int64]
    pid: NDArray[np.int64]
    status: NDArray[np.int64]
    mother: NDArray[np.int64]
    last_mother: NDArray[np.int64]
    charge: NDArray[np.float64]
    px: NDArray[np.float64]
    py: NDArray[np.float64]
    pz: NDArray[np.float64]
    e: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]


def pseudorapidity(x: NDArray, y: NDArray, z: NDArray) -> NDArray[np.float64]:
    """Pseudorapidity of a direction; along the beam it is large (about 28) but finite."""
    return np.arcsinh(z / np.maximum(np.hypot(x, y), 1e-12 * np.abs(z) + 1e-300))


def delta_phi(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Difference of two azimuths, in [-pi, pi)."""
    return (a - b + np.pi) % (2 * np.pi) - np.pi


def delta_r(eta_a: NDArray, phi_a: NDArray, eta_b: NDArray, phi_b: NDArray) -> NDArray[np.float64]:
    """Distance in pseudorapidity and azimuth."""
    return np.hypot(eta_a - eta_b, delta_phi(phi_a, phi_b))
