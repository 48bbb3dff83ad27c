"""The detector against its card and against pencil and paper."""

import numpy as np
import pytest

from softjet.jets import tracks
from softjet.jets.calorimeter import ECAL, HCAL, Deposits, collect, energy_flow, measure
from softjet.jets.detector import NEUTRAL_HADRON, PHOTON, detect
from softjet.jets.events import Records
from softjet.jets.tracks import ELECTRON, HADRON, MUON, Tracks

GEV_TO_RADIUS = 1 / (0.299792458e-3 * 3.8)
"""Radius in mm of a unit charge's helix, per GeV of pT."""


def particles(pid, charge, momenta, vertices=(0.0, 0.0, 0.0), mass=0.0, event=0):
    """Stable particles of one event, behind the entry that stands for the event."""
    momenta = np.atleast_2d(np.asarray(momenta, dtype=float))
    n = len(momenta)
    vertices = np.broadcast_to(np.asarray(vertices, dtype=float), (n, 3))
    energy = np.sqrt((momenta**2).sum(axis=1) + mass**2)
    first = np.zeros(n, dtype=np.int64)
    columns = [np.full(n, event), np.broadcast_to(pid, n), np.ones(n, dtype=np.int64), first, first]
    return Records(*columns, np.broadcast_to(charge, n).astype(float), *momenta.T, energy, *vertices.T)


def many(pid, charge, pt, eta, n=20_000, mass=0.0):
    phi = np.random.default_rng(3).uniform(-np.pi, np.pi, n)
    momenta = np.stack([pt * np.cos(phi), pt * np.sin(phi), np.full(n, pt * np.sinh(eta))], axis=1)
    return particles(pid, charge, momenta, mass=mass)


def no_tracks():
    return Tracks(*(np.zeros(0, dtype=np.int64),) * 2, *(np.zeros(0),) * 10)


def one_track(source, energy, eta=0.05, phi=0.05):
    zeros = [np.zeros(1)] * 4
    axis = [energy / np.cosh(eta) * np.cos(phi), energy / np.cosh(eta) * np.sin(phi), energy * np.tanh(eta)]
    columns = [np.array([one]) for one in (*axis, energy, eta, phi)]
    return Tracks(np.array([source]), np.array([HADRON]), *columns, *zeros)


def deposits(energies, pid, eta=0.05, phi=0.05):
    n = len(energies)
    place = [np.full(n, eta), np.full(n, phi)]
    return Deposits(
        np.arange(n), np.zeros(n, dtype=np.int64), np.full(n, pid), np.array(energies, float), *place
    )


@pytest.mark.parametrize(
    ("kind", "eta", "pt", "expected"),
    [
        (HADRON, 0.0, 0.05, 0.0),
        (HADRON, 1.5, 0.5, 0.70),
        (HADRON, 1.5, 1.0, 0.70),
        (HADRON, -1.4, 5.0, 0.95),
        (HADRON, 1.6, 0.5, 0.60),
        (HADRON, 2.5, 5.0, 0.85),
        (HADRON, 2.6, 5.0, 0.0),
        (ELECTRON, 0.0, 0.5, 0.73),
        (ELECTRON, 0.0, 50.0, 0.95),
        (ELECTRON, 0.0, 150.0, 0.99),
        (ELECTRON, 2.0, 0.5, 0.50),
        (ELECTRON, 2.0, 50.0, 0.83),
        (ELECTRON, 2.0, 150.0, 0.90),
        (MUON, 0.0, 0.5, 0.75),
        (MUON, 0.0, 50.0, 0.99),
        (MUON, -2.0, 0.5, 0.70),
        (MUON, -2.0, 50.0, 0.98),
    ],
)
def test_efficiency_is_the_cards(kind, eta, pt, expected):
    assert tracks.tracking_efficiency(kind, np.array([eta]), np.array([pt])) == [expected]


@pytest.mark.parametrize(
    ("kind", "eta", "pt", "a", "b"),
    [
        (HADRON, 0.4, 100.0, 0.06, 0.0013),
        (HADRON, -1.2, 100.0, 0.10, 0.0017),
        (HADRON, 2.2, 10.0, 0.25, 0.0031),
        (ELECTRON, 0.4, 20.0, 0.03, 0.0013),
        (ELECTRON, 1.2, 20.0, 0.05, 0.0017),
        (ELECTRON, 2.2, 20.0, 0.15, 0.0031),
        (MUON, 0.4, 200.0, 0.01, 0.0001),
        (MUON, 1.2, 200.0, 0.015, 0.00015),
        (MUON, 2.2, 200.0, 0.025, 0.00035),
    ],
)
def test_momentum_resolution_is_the_cards(kind, eta, pt, a, b):
    expected = np.hypot(a, b * pt)
    assert tracks.pt_resolution(kind, np.array([eta]), np.array([pt])) == pytest.approx(expected)


def test_tracks_are_found_and_smeared_as_often_as_the_card_says():
    pions = many(211, 1.0, pt=20.0, eta=0.3, mass=0.14)
    eta, phi = tracks.exit_points(pions)
    found = tracks.reconstruct_tracks(pions, np.arange(len(pions)), eta, phi, np.random.default_rng(1))
    assert len(found) / len(pions) == pytest.approx(0.95, abs=0.006)
    pt = np.hypot(found.px, found.py)
    assert pt.mean() == pytest.approx(20.0, rel=0.003)
    assert pt.std() / 20 == pytest.approx(np.hypot(0.06, 0.0013 * 20), rel=0.03)
    assert found.d0.std() == pytest.approx(0.0143, rel=0.03)
    assert found.dz.std() == pytest.approx(0.0316, rel=0.03)
    mass2 = found.e**2 - found.px**2 - found.py**2 - found.pz**2
    assert mass2 == pytest.approx(0.14**2, abs=1e-6)


def test_impact_resolution_reads_the_table():
    eta, pt = np.array([0.5, -1.0, 2.0, 2.0, 0.5]), np.array([0.20, 0.25, 0.25, 500.0, 0.15])
    d0, dz = tracks.impact_resolution(eta, pt)
    assert d0.tolist() == [0.3543, 0.3580, 0.6046, 0.0137, 0.0]
    assert dz[:2].tolist() == [0.3693, 0.6010]


@pytest.mark.parametrize("charge", [1.0, -1.0])
def test_impact_parameter_by_hand(charge):
    """Flying along +x, 2 mm to the left of the beam: at its nearest now, with the beam on its right."""
    pion = particles(211, charge, [1.0, 0.0, 0.5], vertices=[0.0, 2.0, 5.0])
    d0, dz = tracks.impact_parameters(pion)
    assert d0 == pytest.approx([-2.0])
    assert dz == pytest.approx([5.0])


@pytest.mark.parametrize("charge", [1.0, -1.0])
def test_impact_parameter_is_the_same_all_along_the_helix(charge):
    """100 mm further on, with the momentum turned through the arc, the track is the same track."""
    arc, radius, slope = 100.0, charge * GEV_TO_RADIUS, 0.5
    turn = -arc / radius
    x, y = radius * -np.sin(turn), 2.0 - radius * (1 - np.cos(turn))
    later = particles(211, charge, [np.cos(turn), np.sin(turn), slope], [x, y, 5.0 + slope * arc])
    d0, dz = tracks.impact_parameters(later)
    assert d0 == pytest.approx([-2.0])
    assert dz == pytest.approx([5.0])


def test_positive_charge_turns_clockwise_and_slow_particles_never_reach_the_side():
    pt = np.array([50.0, 1.0, 0.74, 0.73])
    momenta = np.stack([pt, 0 * pt, 0.1 * pt], axis=1)
    eta, phi = tracks.exit_points(particles(211, 1.0, momenta))
    assert phi[0] == pytest.approx(-np.arcsin(1290 / (2 * 50 * GEV_TO_RADIUS)))
    assert phi[1] == pytest.approx(-np.arcsin(1290 / (2 * GEV_TO_RADIUS)))
    assert np.sinh(eta[3]) > 3000 / 1290 > np.sinh(eta[2])
    _, mirrored = tracks.exit_points(particles(211, -1.0, momenta))
    assert mirrored == pytest.approx(-phi)


def test_neutral_particles_fly_straight():
    eta, phi = tracks.exit_points(particles(22, 0.0, [[1.0, 1.0, 0.3], [0.0, 1.0, 9.0]]))
    assert eta == pytest.approx([np.arcsinh(0.3 / np.sqrt(2)), np.arcsinh(9)])
    assert phi == pytest.approx([np.pi / 4, np.pi / 2])
    _, displaced = tracks.exit_points(particles(22, 0.0, [1.0, 0.0, 0.0], vertices=[0.0, 129.0, 0.0]))
    assert displaced == pytest.approx([np.arcsin(0.1)])


def test_cells():
    assert len(ECAL.eta_edges) == 341
    assert ECAL.eta_edges[[0, -1]] == pytest.approx([-2.958, 2.958])
    assert HCAL.eta_edges[[0, -1]] == pytest.approx([-2.95, 2.95])
    assert len(HCAL.cells_in_phi) == len(HCAL.eta_edges) - 1
    eta = np.array([0.01, 0.01, 0.01, 1.60, 1.70, 3.1])
    phi = np.radians([1.0, 4.0, 6.0, 6.0, 6.0, 6.0])
    cell = HCAL.cell(np.zeros(6, dtype=np.int64), eta, phi)
    assert cell[0] == cell[1] != cell[2]
    assert cell[5] == -1
    _, ring, wedge = HCAL.place(cell[:5])
    low = 2 * np.pi * wedge / HCAL.cells_in_phi[ring] - np.pi
    assert HCAL.cells_in_phi[ring].tolist() == [72, 72, 72, 72, 36]
    assert np.all((low <= phi[:5]) & (phi[:5] < low + 2 * np.pi / HCAL.cells_in_phi[ring]))
    assert np.all((HCAL.eta_edges[ring] <= eta[:5]) & (eta[:5] < HCAL.eta_edges[ring + 1]))


@pytest.mark.parametrize(
    ("pid", "ecal", "hcal"),
    [
        (22, 1, 0),
        (-11, 1, 0),
        (13, 0, 0),
        (310, 0.3, 0.7),
        (-3122, 0.3, 0.7),
        (-211, 0, 1),
        (2112, 0, 1),
        (130, 0, 1),
    ],
)
def test_shares_of_energy(pid, ecal, hcal):
    assert ECAL.share(np.array([pid])) == [ecal]
    assert HCAL.share(np.array([pid])) == [hcal]


def test_energy_in_cells_is_conserved():
    rng = np.random.default_rng(2)
    n = 5000
    hits = Deposits(
        np.arange(n),
        rng.integers(0, 3, n),
        np.full(n, 22),
        rng.exponential(5, n),
        rng.uniform(-3.2, 3.2, n),
        rng.uniform(-np.pi, np.pi, n),
    )
    for calorimeter in (ECAL, HCAL):
        cells, energy, place = collect(calorimeter, hits)
        inside = np.abs(hits.eta) < calorimeter.eta_edges[-1]
        assert energy.sum() == pytest.approx(hits.e[inside].sum())
        assert np.all((place >= 0) == inside)
        assert np.all(np.diff(cells) > 0)
        event, _, _ = calorimeter.place(cells)
        assert np.bincount(event, energy) == pytest.approx(np.bincount(hits.event[inside], hits.e[inside]))


@pytest.mark.parametrize(
    ("calorimeter", "eta", "energy", "sigma"),
    [
        (ECAL, 0.0, 100.0, np.sqrt(0.8**2 + 1.1**2 + 0.4**2)),
        (ECAL, 1.0, 100.0, 1.64 * np.sqrt(0.8**2 + 1.1**2 + 0.4**2)),
        (ECAL, 2.0, 100.0, 2.16 * np.sqrt(0.8**2 + 1.1**2 + 0.4**2)),
        (HCAL, 0.0, 100.0, np.sqrt(5**2 + 15**2)),
        (HCAL, 2.7, 100.0, np.sqrt(5**2 + 15**2)),
    ],
)
def test_towers_are_smeared_without_bias(calorimeter, eta, energy, sigma):
    n = 40_000
    measured, _ = measure(calorimeter, np.full(n, eta), np.full(n, energy), np.random.default_rng(4))
    assert measured.mean() == pytest.approx(energy, rel=0.005)
    assert measured.std() == pytest.approx(sigma, rel=0.03)


def test_towers_below_threshold_are_silent():
    n = 5000
    measured, sigma = measure(HCAL, np.zeros(n), np.full(n, 2.0), np.random.default_rng(5))
    heard = measured[measured > 0]
    assert heard.min() > 2.25
    assert 0 < len(heard) < n
    assert np.all(sigma > 0)


def test_energy_beyond_the_tracks_becomes_a_neutral_particle():
    """A pion with a track and a neutron in one cell: what is left is the neutron, and the track stays."""
    towers, scale = energy_flow(
        HCAL, deposits([20.0, 400.0], 2112), one_track(0, 20.0), np.random.default_rng(6)
    )
    assert scale == [1.0]
    assert towers.source.tolist() == [1]
    assert towers.e[0] == pytest.approx(400, abs=4 * np.sqrt(21**2 + 30.7**2))
    assert abs(towers.eta[0] - 0.0435) < 0.0435
    assert abs(towers.phi[0] - np.radians(2.5)) < np.radians(2.5)


def test_a_tower_belongs_to_the_untracked_particle_with_most_energy():
    shared = deposits([300.0, 40.0, 70.0], 2112)
    towers, _ = energy_flow(HCAL, shared, one_track(0, 100.0), np.random.default_rng(6))
    assert towers.source.tolist() == [2]


def test_an_excess_is_one_standard_deviation_or_more():
    """A tower with nothing but the track's own pion exceeds it that far in about one case of seven."""
    track = one_track(0, 20.0)
    seen = [
        energy_flow(HCAL, deposits([20.0], 211), track, np.random.default_rng(seed)) for seed in range(400)
    ]
    assert np.mean([len(towers) for towers, _ in seen]) == pytest.approx(0.14, abs=0.05)
    scales = np.array([scale[0] for towers, scale in seen if len(towers) == 0])
    assert scales.max() < 1.45
    assert scales.min() < 0.8


def test_tracks_of_a_silent_tower_vanish():
    towers, scale = energy_flow(HCAL, deposits([1.0], 211), one_track(0, 1.0), np.random.default_rng(1))
    assert len(towers) == 0
    assert scale == [0.0]


def test_muons_pass_through():
    muon = particles(13, -1.0, [30.0, 1.0, 2.0], mass=0.106)
    seen = [detect(muon, np.random.default_rng(seed)) for seed in range(40)]
    assert sum(len(one) for one in seen) >= 36
    assert all(one.identity[0] == MUON and one.charge[0] == -1 for one in seen if len(one))
    assert np.std([one.px[0] for one in seen if len(one)]) < 1.0


def test_a_photon_and_a_neutron_are_seen_as_such_where_they_are():
    pair = particles([22, 2112], 0.0, [[50.0, 0.0, 10.0], [0.0, 80.0, -40.0]])
    seen = detect(pair, np.random.default_rng(7))
    assert seen.identity.tolist() == [PHOTON, NEUTRAL_HADRON]
    assert seen.source.tolist() == [0, 1]
    assert seen.eta == pytest.approx(pair.eta, abs=0.09)
    assert seen.phi == pytest.approx(pair.phi, abs=0.09)
    assert seen.e**2 == pytest.approx(seen.px**2 + seen.py**2 + seen.pz**2)
    assert np.all(seen.d0_error == 0)


def test_neutrinos_are_not_seen():
    assert len(detect(particles(12, 0.0, [50.0, 0.0, 10.0]), np.random.default_rng(8))) == 0


def test_no_tracks_no_scale():
    towers, scale = energy_flow(ECAL, deposits([10.0], 22), no_tracks(), np.random.default_rng(9))
    assert len(towers) == 1
    assert len(scale) == 0
