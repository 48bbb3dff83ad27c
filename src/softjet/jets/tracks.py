"""The tracker: how charged particles bend, and how well tracks are found and measured.

The field is a solenoid's, 3.8 T along +z, in a cylinder of radius 1.29 m and half-length 3 m around the
collision at the origin. Efficiencies and resolutions are those of the CMS card that JetClass was made with
(jetclass_generation, MIT), which takes them from CMS (arXiv 1405.6569, 1502.02701).
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from softjet.jets.events import Columns, Records, delta_phi, pseudorapidity

FIELD_T = 3.8
RADIUS_MM = 1290.0
HALF_LENGTH_MM = 3000.0
GEV_PER_T_MM = 0.299792458e-3
"""pT = 0.3 B r: transverse momentum in GeV of a unit charge that turns with r = 1 mm in 1 T."""

HADRON, ELECTRON, MUON = 0, 1, 2
"""Kinds of track."""


@dataclass(frozen=True)
class Tracks(Columns):
    """Measured tracks, all (n,).

    `source` is the place of the particle among the records; `eta`, `phi` where the track meets the
    calorimeter; impact parameters in mm.
    """

    source: NDArray[np.int64]
    kind: NDArray[np.int64]
    px: NDArray[np.float64]
    py: NDArray[np.float64]
    pz: NDArray[np.float64]
    e: NDArray[np.float64]
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]
    d0: NDArray[np.float64]
    d0_error: NDArray[np.float64]
    dz: NDArray[np.float64]
    dz_error: NDArray[np.float64]


def track_kinds(pid: NDArray) -> NDArray[np.int64]:
    """HADRON, ELECTRON or MUON by PDG identity."""
    return np.select([np.abs(pid) == 11, np.abs(pid) == 13], [ELECTRON, MUON], HADRON)


def turning_radius(charge: NDArray, pt: NDArray) -> NDArray[np.float64]:
    """Radius of the helix in mm, positive for positive charge, which turns clockwise seen from +z."""
    return pt / (charge * GEV_PER_T_MM * FIELD_T)


def exit_points(particles: Records) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pseudorapidity and azimuth (seen from the origin) where particles leave the tracker.

    Neutral particles fly straight; the others turn through an arc of length s in the transverse plane:
    x = xc - r sin(phi - s/r), y = yc + r cos(phi - s/r), z = z0 + s pz/pT.
    """
    x, y, z = np.empty((3, len(particles)))
    bent = particles.charge != 0
    for mask, path in ((bent, _helix_exit), (~bent, _line_exit)):
        x[mask], y[mask], z[mask] = path(particles[mask])
    return pseudorapidity(x, y, z), np.arctan2(y, x)


def _end_cap(p: Records) -> NDArray[np.float64]:
    """Transverse length of the path to the end of the cylinder."""
    pz = np.where(np.abs(p.pz) < 1e-12, 1e-12, p.pz)
    return (np.copysign(HALF_LENGTH_MM, pz) - p.z) * p.pt / pz


def _line_exit(p: Records) -> tuple[NDArray, NDArray, NDArray]:
    along = (p.x * p.px + p.y * p.py) / p.pt
    aside2 = p.x**2 + p.y**2 - along**2
    side = np.sqrt(np.maximum(RADIUS_MM**2 - aside2, 0)) - along
    s = np.minimum(side, _end_cap(p))
    return p.x + s * p.px / p.pt, p.y + s * p.py / p.pt, p.z + s * p.pz / p.pt


def _helix_exit(p: Records) -> tuple[NDArray, NDArray, NDArray]:
    r, xc, yc = _helix_axis(p)
    rc = np.hypot(xc, yc)
    sine = (RADIUS_MM**2 - rc**2 - r**2) / (2 * r * rc)
    crosses = np.abs(sine) <= 1
    rise = np.arcsin(np.where(crosses, sine, 0))
    axis = np.arctan2(yc, xc)
    turns = [(np.sign(r) * (p.phi - at)) % (2 * np.pi) for at in (axis - rise, axis + np.pi + rise)]
    side = np.where(crosses, np.abs(r) * np.minimum(*turns), np.inf)
    s = np.minimum(side, _end_cap(p))
    return xc - r * np.sin(p.phi - s / r), yc + r * np.cos(p.phi - s / r), p.z + s * p.pz / p.pt


def _helix_axis(p: Records) -> tuple[NDArray, NDArray, NDArray]:
    """Signed radius and the axis of the helix in the transverse plane, in mm."""
    r = turning_radius(p.charge, p.pt)
    return r, p.x + r * np.sin(p.phi), p.y - r * np.cos(p.phi)


def impact_parameters(charged: Records) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """True d0 and dz in mm of the helix's point nearest to the beam axis (in the transverse plane).

    Sign: d0 = (x py - y px) / pT at that point, so a track that passes the beam axis on its left has
    d0 > 0. That is Delphes' and so JetClass's sign, the opposite of CMS's dxy. dz is the z of that point.
    For signed radius r and axis at distance rc from the beam, d0 = sign(r) (rc - |r|).
    """
    r, xc, yc = _helix_axis(charged)
    sign = np.sign(r)
    phi_nearest = np.arctan2(sign * xc, -sign * yc)
    back = r * delta_phi(charged.phi, phi_nearest)
    return sign * (np.hypot(xc, yc) - np.abs(r)), charged.z + back * charged.pz / charged.pt


_EFFICIENCY = {
    HADRON: ((0.1, 0.70, 0.60), (1.0, 0.95, 0.85)),
    ELECTRON: ((0.1, 0.73, 0.50), (1.0, 0.95, 0.83), (100.0, 0.99, 0.90)),
    MUON: ((0.1, 0.75, 0.70), (1.0, 0.99, 0.98)),
}
"""By kind: (pT above which it holds in GeV, efficiency at |eta| <= 1.5, at 1.5 to 2.5)."""

_PT_RESOLUTION = {
    HADRON: ((0.06, 0.0013), (0.10, 0.0017), (0.25, 0.0031)),
    ELECTRON: ((0.03, 0.0013), (0.05, 0.0017), (0.15, 0.0031)),
    MUON: ((0.01, 0.0001), (0.015, 0.00015), (0.025, 0.00035)),
}
"""By kind: (a, b / GeV) of sigma(pT)/pT = sqrt(a^2 + (b pT)^2) at |eta| <= 0.5, 1.5, 2.5."""


def tracking_efficiency(kind: int, eta: NDArray, pt: NDArray) -> NDArray[np.float64]:
    """Probability that a charged particle of this kind, pseudorapidity and pT (GeV) gives a track."""
    inner, outer = np.zeros_like(pt), np.zeros_like(pt)
    for threshold, barrel, endcap in _EFFICIENCY[kind]:
        inner[pt > threshold], outer[pt > threshold] = barrel, endcap
    return np.select([np.abs(eta) <= 1.5, np.abs(eta) <= 2.5], [inner, outer], 0.0)


def pt_resolution(kind: int, eta: NDArray, pt: NDArray) -> NDArray[np.float64]:
    """Relative uncertainty of pT (GeV) of a track; at most 1."""
    region = np.searchsorted((0.5, 1.5), np.abs(eta))
    a, b = np.array(_PT_RESOLUTION[kind])[region].T
    return np.minimum(np.sqrt(a**2 + (b * pt) ** 2), 1)


@cache
def _impact_table() -> pd.DataFrame:
    with files("softjet.jets").joinpath("impact_parameter_resolution.csv").open() as stream:
        return pd.read_csv(stream)


def impact_resolution(eta: NDArray, pt: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Uncertainties of d0 and dz in mm, by |eta| and pT (GeV); 0 outside the table, as in the card."""
    table = _impact_table()
    eta_edges = np.append(table.abs_eta_min.unique(), table.abs_eta_max.max())
    pt_edges = np.append(table.pt_min_gev.unique(), np.inf)
    row = np.searchsorted(eta_edges, np.abs(eta)) - 1
    column = np.searchsorted(pt_edges, pt) - 1
    inside = (row >= 0) & (row < len(eta_edges) - 1) & (column >= 0)
    place = np.where(inside, row * (len(pt_edges) - 1) + column, 0)
    d0, dz = table.sigma_d0_mm.to_numpy()[place], table.sigma_dz_mm.to_numpy()[place]
    return np.where(inside, d0, 0.0), np.where(inside, dz, 0.0)


def log_normal(mean: NDArray, sigma: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw from log-normal distributions of the given means and standard deviations (0 stays 0)."""
    width2 = np.log1p((sigma / np.where(mean > 0, mean, 1)) ** 2)
    return mean * np.exp(np.sqrt(width2) * rng.standard_normal(len(mean)) - width2 / 2)


def reconstruct_tracks(
    particles: Records, source: NDArray, eta: NDArray, phi: NDArray, rng: np.random.Generator
) -> Tracks:
    """Find and measure the tracks of charged particles.

    Parameters
    ----------
    particles : Records
        Stable particles.
    source : (n,) array of int
        Their places in the batch.
    eta, phi : (n,) arrays
        Where they leave the tracker; efficiency and pT resolution go by this pseudorapidity.
    rng : Generator
        Of the detector's random numbers.
    """
    kind, pt = track_kinds(particles.pid), particles.pt
    efficiency, resolution = np.zeros((2, len(particles)))
    for one in (HADRON, ELECTRON, MUON):
        of_kind = kind == one
        efficiency[of_kind] = tracking_efficiency(one, eta[of_kind], pt[of_kind])
        resolution[of_kind] = pt_resolution(one, eta[of_kind], pt[of_kind])
    found = (rng.random(len(particles)) < efficiency) & (particles.charge != 0)
    return _measure(
        particles[found], source[found], kind[found], eta[found], phi[found], resolution[found], rng
    )


def _measure(
    true: Records,
    source: NDArray,
    kind: NDArray,
    eta: NDArray,
    phi: NDArray,
    resolution: NDArray,
    rng: np.random.Generator,
) -> Tracks:
    """Smear pT (directions and masses stay) and the impact parameters."""
    pt = true.pt
    stretch = log_normal(pt, resolution * pt, rng) / pt
    px, py, pz = stretch * true.px, stretch * true.py, stretch * true.pz
    mass2 = np.maximum(true.e**2 - true.px**2 - true.py**2 - true.pz**2, 0)
    d0_error, dz_error = impact_resolution(true.eta, stretch * pt)
    d0, dz = impact_parameters(true)
    d0 += d0_error * rng.standard_normal(len(d0))
    dz += dz_error * rng.standard_normal(len(dz))
    e = np.sqrt(px**2 + py**2 + pz**2 + mass2)
    return Tracks(source, kind, px, py, pz, e, eta, phi, d0, d0_error, dz, dz_error)
