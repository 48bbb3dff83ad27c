"""Substructure against FastJet's own clustering and against 100 published jets."""

import itertools
from pathlib import Path

import fastjet
import numpy as np
import pyarrow.parquet as pq
import pytest

from softjet.jets.substructure import exclusive_subjets, jet_substructure, soft_drop_mass

EXAMPLE = Path(__file__).parents[3] / "shared/data/jets/JetClassII_example.parquet"
LARGE = 1000.0


@pytest.fixture(scope="module")
def jets():
    """Sixty random jets of 1 to 60 particles with two or three prongs, some across phi = pi."""
    random = np.random.default_rng(5)
    sizes = random.integers(1, 60, 60)
    momenta = []
    for size in sizes:
        centre = random.uniform([-2, -np.pi], [2, np.pi])
        prongs = random.normal(centre, 0.3, (3, 2))
        eta, phi = (prongs[random.integers(0, 3, size)] + random.normal(0, 0.1, (size, 2))).T
        pt, mass = random.exponential(10, size) + 0.5, random.uniform(0, 1, size)
        px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
        momenta.append(np.stack([px, py, pz, np.sqrt(px**2 + py**2 + pz**2 + mass**2)], axis=1))
    return np.concatenate(momenta), np.concatenate([[0], np.cumsum(sizes)])


def pseudojets(momenta):
    particles = [fastjet.PseudoJet(*map(float, momentum)) for momentum in momenta]
    for place, particle in enumerate(particles):
        particle.set_user_index(place)
    return particles


def fastjet_soft_drop(momenta, z, beta, radius):
    sequence = fastjet.ClusterSequence(
        pseudojets(momenta), fastjet.JetDefinition(fastjet.cambridge_algorithm, LARGE)
    )
    (jet,) = sequence.inclusive_jets()
    a, b = fastjet.PseudoJet(), fastjet.PseudoJet()
    while jet.has_parents(a, b):
        hard, soft = (a, b) if a.pt() > b.pt() else (b, a)
        if soft.pt() / (a.pt() + b.pt()) > z * (a.delta_R(b) / radius) ** beta:
            break
        jet = fastjet.PseudoJet(hard)
    return np.sqrt(max(0.0, jet.m2()))


@pytest.mark.parametrize(("z", "beta"), [(0.1, 0.0), (0.2, 1.0)])
def test_soft_drop_equals_fastjet(jets, z, beta):
    momenta, offsets = jets
    expected = [fastjet_soft_drop(momenta[a:b], z, beta, 0.8) for a, b in itertools.pairwise(offsets)]
    np.testing.assert_allclose(soft_drop_mass(momenta, offsets, z, beta), expected, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("n_subjets", [1, 2, 3, 5])
def test_exclusive_subjets_equal_fastjet(jets, n_subjets):
    momenta, offsets = jets
    labels = exclusive_subjets(momenta, offsets, n_subjets)
    for a, b in itertools.pairwise(offsets):
        sequence = fastjet.ClusterSequence(
            pseudojets(momenta[a:b]), fastjet.JetDefinition(fastjet.kt_algorithm, LARGE)
        )
        subjets = fastjet.sorted_by_pt(sequence.exclusive_jets_up_to(n_subjets))
        expected = np.full(b - a, -1)
        for label, subjet in enumerate(subjets):
            expected[[particle.user_index() for particle in subjet.constituents()]] = label
        np.testing.assert_array_equal(labels[a:b], expected)


@pytest.mark.skipif(not EXAMPLE.exists(), reason="the example jets of JetClass-II are not on this machine")
def test_medians_equal_those_of_published_jets():
    table = pq.read_table(EXAMPLE)
    lists = [table[f"part_{name}"].combine_chunks() for name in ("px", "py", "pz", "energy")]
    momenta = np.stack([np.asarray(column.values, float) for column in lists], axis=1)
    ours = jet_substructure(momenta, np.asarray(lists[0].offsets, np.int64))
    tolerances = {"jet_sdmass": 0.01, "jet_tau1": 0.01, "jet_tau2": 0.01, "jet_tau3": 0.01, "jet_tau4": 0.02}
    for name, tolerance in tolerances.items():
        published = table[name].to_numpy()
        ratio = ours[name][published > 0] / published[published > 0]
        assert abs(np.median(ratio) - 1) < tolerance, (name, np.median(ratio))
