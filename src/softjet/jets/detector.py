"""The detector: from stable particles to what a particle-flow reconstruction would list.

Tracker, then electromagnetic, then hadronic calorimeter; the numbers are the CMS card's that JetClass was
made with, the logic Delphes' (arXiv 1307.6346). See `tracks` and `calorimeter`.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from softjet.jets.calorimeter import ECAL, HCAL, Deposits, Towers, energy_flow
from softjet.jets.events import Columns, Momenta, Records
from softjet.jets.tracks import Tracks, exit_points, reconstruct_tracks

CHARGED_HADRON, ELECTRON, MUON, PHOTON, NEUTRAL_HADRON = 0, 1, 2, 3, 4
"""Identities of candidates; the first three are the kinds of track."""

_NEUTRINOS = (12, 14, 16)
_FAR_FORWARD = 4.0
"""Particles beyond this |eta| cannot bend or spread into |eta| < 2.95."""


@dataclass(frozen=True)
class Candidates(Columns, Momenta):
    """Reconstructed particles, all (n,): momenta in GeV, impact parameters in mm (0 for neutral ones).

    `source` is the place among the records of the particle behind it (for a tower: behind most of it).
    """

    event: NDArray[np.int64]
    source: NDArray[np.int64]
    identity: NDArray[np.int64]
    charge: NDArray[np.float64]
    px: NDArray[np.float64]
    py: NDArray[np.float64]
    pz: NDArray[np.float64]
    e: NDArray[np.float64]
    d0: NDArray[np.float64]
    d0_error: NDArray[np.float64]
    dz: NDArray[np.float64]
    dz_error: NDArray[np.float64]


def detect(records: Records, rng: np.random.Generator) -> Candidates:
    """Reconstruct a batch of collisions.

    Parameters
    ----------
    records : Records
        Whole event records; only stable particles that a detector can see are used.
    rng : Generator
        Of the detector's random numbers.

    Returns
    -------
    Candidates
        Sorted by event.
    """
    source = np.flatnonzero(
        (records.status > 0)
        & ~np.isin(np.abs(records.pid), _NEUTRINOS)
        & (records.pt > 1e-4)
        & (np.abs(records.pz) < np.sinh(_FAR_FORWARD) * records.pt)
    )
    particles = records[source]
    eta, phi = exit_points(particles)
    tracks = reconstruct_tracks(particles, source, eta, phi, rng)
    deposits = Deposits(source, particles.event, particles.pid, particles.e, eta, phi)
    photons, scale = energy_flow(ECAL, deposits, tracks, rng)
    tracks = scaled(tracks, scale)
    neutral_hadrons, scale = energy_flow(HCAL, deposits, tracks, rng)
    tracks = scaled(tracks, scale)
    parts = [
        _from_tracks(records, tracks),
        _from_towers(photons, PHOTON),
        _from_towers(neutral_hadrons, NEUTRAL_HADRON),
    ]
    together = Candidates(*(np.concatenate(column) for column in zip(*map(_columns, parts), strict=True)))
    return together[np.argsort(together.event, kind="stable")]


def scaled(tracks: Tracks, factor: NDArray) -> Tracks:
    """Tracks with momenta multiplied by `factor`, directions and masses kept; none where it is 0."""
    tracks, factor = tracks[factor > 0], factor[factor > 0]
    p2 = tracks.px**2 + tracks.py**2 + tracks.pz**2
    e = np.sqrt(np.maximum(tracks.e**2 - p2, 0) + factor**2 * p2)
    return replace(tracks, px=factor * tracks.px, py=factor * tracks.py, pz=factor * tracks.pz, e=e)


def _columns(candidates: Candidates) -> list[NDArray]:
    return [getattr(candidates, field.name) for field in fields(candidates)]


def _from_tracks(records: Records, t: Tracks) -> Candidates:
    event, charge = records.event[t.source], records.charge[t.source]
    impact = (t.d0, t.d0_error, t.dz, t.dz_error)
    return Candidates(event, t.source, t.kind, charge, t.px, t.py, t.pz, t.e, *impact)


def _from_towers(t: Towers, identity: int) -> Candidates:
    """Towers as massless particles from the collision."""
    none = np.zeros(len(t))
    pt = t.e / np.cosh(t.eta)
    px, py, pz = pt * np.cos(t.phi), pt * np.sin(t.phi), pt * np.sinh(t.eta)
    what = np.full(len(t), identity)
    return Candidates(t.event, t.source, what, none, px, py, pz, t.e, none, none, none, none)
