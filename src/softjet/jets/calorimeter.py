"""The calorimeters: cells, resolution, thresholds, and energy flow.

Energy flow measures charged particles by their tracks and gives the calorimeter only what is left of a
tower's energy once the tracks that end in it are taken out. Numbers: the CMS card that JetClass was made
with (jetclass_generation, MIT); logic: Delphes 3 (arXiv 1307.6346, section 3.2). The forward
calorimeters are left out: no particle beyond |eta| = 2.95 reaches a jet of |eta| < 2 and R = 0.8.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from softjet.jets.events import Columns
from softjet.jets.tracks import Tracks, log_normal


def _ecal_sigma(eta: NDArray, e: NDArray) -> NDArray[np.float64]:
    """Absolute energy resolution in GeV (CMS, arXiv 1306.2016 and 1502.02701)."""
    barrel_root = np.sqrt((0.008 * e) ** 2 + 0.11**2 * e + 0.40**2)
    eta = np.abs(eta)
    return np.select(
        [eta <= 1.5, eta <= 2.5],
        [(1 + 0.64 * eta**2) * barrel_root, (2.16 + 5.6 * (eta - 2) ** 2) * barrel_root],
        np.sqrt((0.107 * e) ** 2 + 2.08**2 * e),
    )


def _hcal_sigma(eta: NDArray, e: NDArray) -> NDArray[np.float64]:  # noqa: ARG001
    """Absolute energy resolution in GeV, the same at every |eta| < 3."""
    return np.sqrt((0.050 * e) ** 2 + 1.50**2 * e)


def _both_sides(edges: NDArray) -> NDArray[np.float64]:
    return np.concatenate([-edges[:0:-1], edges])


@dataclass(frozen=True)
class Calorimeter:
    """One calorimeter.

    Parameters
    ----------
    eta_edges : (n + 1,) array
        Edges of the rings of cells.
    cells_in_phi : (n,) array of int
        Equal cells in each ring.
    minimum : float
        Energy in GeV that a tower, and what is left of it, must have.
    significance : float
        The same in units of the resolution.
    sigma : function of (eta, energy)
        Energy resolution in GeV.
    shares : dict of int to float
        Share of a particle's energy left here, by |PDG identity|.
    other_share : float
        The share of every other particle.
    """

    eta_edges: NDArray[np.float64]
    cells_in_phi: NDArray[np.int64]
    minimum: float
    significance: float
    sigma: Callable[[NDArray, NDArray], NDArray]
    shares: dict[int, float]
    other_share: float

    def share(self, pid: NDArray) -> NDArray[np.float64]:
        """Share of the energy that particles of these identities leave here."""
        flavours, place = np.unique(np.abs(pid), return_inverse=True)
        return np.array([self.shares.get(int(one), self.other_share) for one in flavours])[place]

    def cell(self, event: NDArray, eta: NDArray, phi: NDArray) -> NDArray[np.int64]:
        """Number of the cell of an event that holds the direction; -1 outside."""
        ring = np.searchsorted(self.eta_edges, eta) - 1
        inside = (ring >= 0) & (ring < len(self.cells_in_phi))
        cells = self.cells_in_phi[np.where(inside, ring, 0)]
        wedge = ((phi + np.pi) / (2 * np.pi) * cells).astype(np.int64) % cells
        number = (event * len(self.cells_in_phi) + ring) * int(self.cells_in_phi.max()) + wedge
        return np.where(inside, number, -1)

    def place(self, cell: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Event, ring and place in the ring of a cell's number."""
        ring_in_events, wedge = np.divmod(cell, int(self.cells_in_phi.max()))
        event, ring = np.divmod(ring_in_events, len(self.cells_in_phi))
        return event, ring, wedge


_MUON_AND_NEUTRINOS = {12: 0.0, 13: 0.0, 14: 0.0, 16: 0.0}

ECAL = Calorimeter(
    eta_edges=0.0174 * np.arange(-170, 171, dtype=np.float64),
    cells_in_phi=np.full(340, 360),
    minimum=0.5,
    significance=2.0,
    sigma=_ecal_sigma,
    shares={11: 1.0, 22: 1.0, 111: 1.0, 310: 0.3, 3122: 0.3},
    other_share=0.0,
)

_HCAL_ENDCAP = np.array([1.74, 1.83, 1.93, 2.043, 2.172, 2.322, 2.5, 2.65, 2.868, 2.95])

HCAL = Calorimeter(
    eta_edges=_both_sides(np.concatenate([np.arange(20) * 0.087, _HCAL_ENDCAP])),
    cells_in_phi=np.repeat([36, 72, 36], [10, 38, 10]),
    minimum=1.0,
    significance=1.0,
    sigma=_hcal_sigma,
    shares={11: 0.0, 22: 0.0, 111: 0.0, 310: 0.7, 3122: 0.7} | _MUON_AND_NEUTRINOS,
    other_share=1.0,
)


@dataclass(frozen=True)
class Deposits(Columns):
    """Particles as the calorimeters meet them, all (n,): `source` is the place among the records."""

    source: NDArray[np.int64]
    event: NDArray[np.int64]
    pid: NDArray[np.int64]
    e: NDArray[np.float64]
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]


@dataclass(frozen=True)
class Towers(Columns):
    """Energy left over in towers, all (n,); `source` is the particle that gave most of it."""

    source: NDArray[np.int64]
    event: NDArray[np.int64]
    e: NDArray[np.float64]
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]


def collect(calorimeter: Calorimeter, deposits: Deposits) -> tuple[NDArray, NDArray, NDArray]:
    """Add up the true energy in each cell that is hit.

    Returns
    -------
    cells : (c,) array of int, ascending
        Numbers of the cells hit.
    energy : (c,) array
        True energy in them, GeV.
    hits : (n,) array of int
        Place in `cells` of each deposit; -1 outside the calorimeter.
    """
    number = calorimeter.cell(deposits.event, deposits.eta, deposits.phi)
    cells, hits = np.unique(number, return_inverse=True)
    energy = np.bincount(hits, deposits.e)
    outside = int(len(cells) > 0 and cells[0] < 0)
    return cells[outside:], energy[outside:], hits - outside


def measure(
    calorimeter: Calorimeter, eta: NDArray, true: NDArray, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measured energies of towers and their uncertainties, in GeV; 0 below the thresholds."""
    energy = log_normal(true, calorimeter.sigma(eta, true), rng)
    sigma = calorimeter.sigma(eta, energy)
    seen = (energy >= calorimeter.minimum) & (energy >= calorimeter.significance * sigma)
    return np.where(seen, energy, 0.0), sigma


def energy_flow(
    calorimeter: Calorimeter, deposits: Deposits, tracks: Tracks, rng: np.random.Generator
) -> tuple[Towers, NDArray[np.float64]]:
    """Split a calorimeter's energy between the tracks that end in it and neutral particles.

    Where the energy beyond the tracks' is above threshold and significant it becomes a neutral particle and
    the tracks stay. Elsewhere tower and tracks measured the same thing, and the tracks are scaled so that
    their energies add up to the tower's; those of a tower below threshold vanish.

    Parameters
    ----------
    calorimeter : Calorimeter
    deposits : Deposits
        Every particle that leaves the tracker, with its whole energy; `source` ascending.
    tracks : Tracks
        Tracks of those particles (`source` tells which).

    Returns
    -------
    towers : Towers
        What is left over.
    scale : (n_tracks,) array
        Factor for each track's momentum; 1 for tracks that leave nothing here.

    Notes
    -----
    Delphes would scale to the mean of tower and tracks weighted by their variances. In JetClass's card the
    impact-parameter smearing resets the tracks' resolution to 0, which Delphes reads as "unknown" and gives
    no weight. So the tower alone counts, and isolated hadrons under 2.25 GeV (where HCAL's significance
    reaches 1) are missing from JetClass, as they are here.
    """
    share = calorimeter.share(deposits.pid)
    deposits = replace(deposits, e=share * deposits.e)[share > 0]
    cells, true, hits = collect(calorimeter, deposits)
    _, ring, _ = calorimeter.place(cells)
    centre = (calorimeter.eta_edges[ring] + calorimeter.eta_edges[ring + 1]) / 2
    energy, sigma = measure(calorimeter, centre, true, rng)

    tower_of = _towers_of_tracks(deposits, hits, tracks)
    ending = np.flatnonzero(tower_of >= 0)
    track_energy = np.bincount(tower_of[ending], tracks.e[ending], minlength=len(cells))
    excess = np.maximum(energy - track_energy, 0)
    neutral = (excess > calorimeter.minimum) & (excess > calorimeter.significance * sigma)
    scale = np.ones(len(tracks))
    rescaled = ending[~neutral[tower_of[ending]]]
    scale[rescaled] = (energy / np.maximum(track_energy, 1e-12))[tower_of[rescaled]]
    return _leftover(calorimeter, cells, excess, neutral, _main_source(deposits, hits, tracks), rng), scale


def _towers_of_tracks(deposits: Deposits, hits: NDArray, tracks: Tracks) -> NDArray[np.int64]:
    """Place in the list of cells of the tower each track ends in; -1 for none."""
    _, track, deposit = np.intersect1d(
        tracks.source, deposits.source, assume_unique=True, return_indices=True
    )
    place = np.full(len(tracks), -1)
    place[track] = hits[deposit]
    return place


def _main_source(deposits: Deposits, hits: NDArray, tracks: Tracks) -> NDArray[np.int64]:
    """Give the particle with most energy in each cell, those without a track before those with one."""
    untracked = ~np.isin(deposits.source, tracks.source)
    order = np.lexsort((deposits.e, untracked, hits))
    order = order[hits[order] >= 0]
    last = np.flatnonzero(np.diff(hits[order], append=np.iinfo(np.int64).max))
    return deposits.source[order[last]]


def _leftover(
    calorimeter: Calorimeter,
    cells: NDArray,
    excess: NDArray,
    neutral: NDArray,
    source: NDArray,
    rng: np.random.Generator,
) -> Towers:
    """Towers of the cells where `neutral` holds, anywhere within their cell with equal probability."""
    event, ring, wedge = calorimeter.place(cells[neutral])
    low, high = calorimeter.eta_edges[ring], calorimeter.eta_edges[ring + 1]
    eta = rng.uniform(low, high)
    phi = 2 * np.pi * (wedge + rng.random(len(wedge))) / calorimeter.cells_in_phi[ring] - np.pi
    return Towers(source[neutral], event, excess[neutral], eta, phi)
