"""Substructure against FastJet: its clustering trees, and the contrib code that its Python wheel holds."""

import itertools
from pathlib import Path

import awkward as ak
import fastjet
import numpy as np
import pytest

from softjet.jets.correlators import c2, d2
from softjet.jets.substructure import (
    energy_correlators,
    exclusive_subjets,
    merge_partners,
    nsubjettiness,
    soft_drop_mass,
)

PUBLISHED = Path(__file__).parents[3] / "shared/data/jets/SMALLpfVectors.npy"
LARGE = 1000.0
RADIUS = 0.8


def particles(pt, eta, phi, mass):
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return np.stack([px, py, pz, np.sqrt(px**2 + py**2 + pz**2 + mass**2)], axis=1)


def end_to_end(jets):
    return np.concatenate(jets), np.cumsum([0, *map(len, jets)])


def pronged_jets(random, n):
    """Jets of 1 to 60 massive particles with two or three prongs, some across phi = pi."""
    for size in random.integers(1, 60, n):
        centre = random.uniform([-2, -np.pi], [2, np.pi])
        prongs = random.normal(centre, 0.3, (3, 2))
        eta, phi = (prongs[random.integers(0, 3, size)] + random.normal(0, 0.1, (size, 2))).T
        yield particles(random.exponential(10, size) + 0.5, eta, phi, random.uniform(0, 1, size))


def showered_jets(random, n):
    """Jets of 1 to 128 massless particles by random splittings, ever narrower and softer, as in a shower."""
    for size in random.integers(1, 129, n):
        pt, points, width = np.array([500.0]), random.uniform([[-2, -np.pi]], [[2, np.pi]]), np.array([0.8])
        while len(pt) < size:
            i = random.choice(len(pt), p=pt / pt.sum())
            z, angle = 0.5 * random.uniform() ** 2 + 1e-3, width[i] * random.uniform() ** 2 + 1e-4
            turn = random.uniform(-np.pi, np.pi)
            away = angle * np.array([np.cos(turn), np.sin(turn)])
            pt = np.append(pt, z * pt[i])
            points = np.vstack([points, points[i] + (1 - z) * away])
            points[i] -= z * away
            pt[i] *= 1 - z
            width[i] = angle
            width = np.append(width, angle)
        yield particles(pt, *points.T, 0.0)


def published_jets():
    if not PUBLISHED.exists():
        pytest.skip("the 500 published JetClass jets are not on this machine")
    vectors = np.load(PUBLISHED).astype(float).transpose(0, 2, 1)
    return [jet[jet[:, 3] > 0] for jet in vectors]


@pytest.fixture(scope="module", params=["pronged", "showered", "published"])
def jets(request):
    """Momenta and offsets of many jets."""
    random = np.random.default_rng(5)
    if request.param == "published":
        return end_to_end(published_jets())
    return end_to_end(list({"pronged": pronged_jets, "showered": showered_jets}[request.param](random, 150)))


def each(momenta, offsets):
    return [momenta[a:b] for a, b in itertools.pairwise(offsets)]


def pseudojets(momenta):
    made = [fastjet.PseudoJet(*map(float, momentum)) for momentum in momenta]
    for place, particle in enumerate(made):
        particle.set_user_index(place)
    return made


def clustered(momenta, algorithm):
    return fastjet.ClusterSequence(pseudojets(momenta), fastjet.JetDefinition(algorithm, LARGE))


def fastjet_soft_drop(momenta, z, beta, radius):
    """Mass squared, by FastJet's declustering."""
    sequence = clustered(momenta, fastjet.cambridge_algorithm)
    (jet,) = sequence.inclusive_jets()
    a, b = fastjet.PseudoJet(), fastjet.PseudoJet()
    while jet.has_parents(a, b):
        hard, soft = (a, b) if a.pt() > b.pt() else (b, a)
        if soft.pt() / (a.pt() + b.pt()) > z * (a.delta_R(b) / radius) ** beta:
            break
        jet = fastjet.PseudoJet(hard)
    return max(0.0, jet.m2())


def assert_same_groomed(momenta, offsets, z, beta):
    ours = soft_drop_mass(momenta, offsets, z, beta) ** 2
    theirs = [fastjet_soft_drop(jet, z, beta, RADIUS) for jet in each(momenta, offsets)]
    # A mass squared is a difference of squared energies: these set its rounding.
    energy = np.array([jet[:, 3].sum() for jet in each(momenta, offsets)])
    np.testing.assert_allclose(ours / energy**2, theirs / energy**2, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(("z", "beta"), [(0.1, 0.0), (0.2, 1.0), (0.05, -1.0)])
def test_soft_drop_equals_fastjet(jets, z, beta):
    assert_same_groomed(*jets, z, beta)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.25, 0.5, 0.2)])
def test_soft_drop_equals_fastjet_where_massless_particles_coincide(shares):
    random = np.random.default_rng(6)
    sizes = [1, 1, *random.integers(1, 20, 80)]
    whole = [particles(random.exponential(20, n) + 1, *random.normal(0, 0.3, (2, n)), 0.0) for n in sizes]
    momenta, offsets = end_to_end([np.concatenate([jet * share for share in shares]) for jet in whole])
    assert_same_groomed(momenta, offsets, 0.1, 0.0)


def test_where_ties_allow_several_trees_ours_is_one_that_fastjet_makes():
    """Of particles on a grid many pairs are equally close; rounding, hence the jet's azimuth, decides."""
    random = np.random.default_rng(6)
    for size in random.integers(2, 16, 60):
        pt, (eta, phi) = random.exponential(20, size) + 1, random.integers(-3, 4, (2, size)) * 0.125
        turned = [particles(pt, eta, phi + turn, 0.0) for turn in [0, *random.uniform(0, 6, 60)]]
        ours = soft_drop_mass(turned[0], np.array([0, size]))[0] ** 2
        theirs = [fastjet_soft_drop(jet, 0.1, 0.0, RADIUS) for jet in turned]
        assert np.isclose(ours, theirs, rtol=1e-9, atol=1e-12 * pt.sum() ** 2).any()


@pytest.mark.parametrize("n_subjets", [1, 2, 3, 5])
def test_exclusive_subjets_equal_fastjet(jets, n_subjets):
    momenta, offsets = jets
    labels = exclusive_subjets(momenta, offsets, n_subjets)
    for a, b in itertools.pairwise(offsets):
        sequence = clustered(momenta[a:b], fastjet.kt_algorithm)
        subjets = fastjet.sorted_by_pt(sequence.exclusive_jets_up_to(n_subjets))
        expected = np.full(b - a, -1)
        for label, subjet in enumerate(subjets):
            expected[[particle.user_index() for particle in subjet.constituents()]] = label
        np.testing.assert_array_equal(labels[a:b], expected)


def fastjet_partners(momenta, algorithm):
    sequence = clustered(momenta, algorithm)
    partner, partners = fastjet.PseudoJet(), np.full(len(momenta), -1)
    for particle in sequence.jets()[: len(momenta)]:
        if particle.has_partner(partner):
            hardest = max(partner.constituents(), key=lambda p: p.pt())
            partners[particle.user_index()] = hardest.user_index()
    return partners


@pytest.mark.parametrize("algorithm", ["kt", "cambridge_aachen"])
def test_merge_partners_equal_fastjets_history(jets, algorithm):
    momenta, offsets = jets
    theirs = {"kt": fastjet.kt_algorithm, "cambridge_aachen": fastjet.cambridge_algorithm}[algorithm]
    expected = [fastjet_partners(jet, theirs) for jet in each(momenta, offsets)]
    np.testing.assert_array_equal(merge_partners(momenta, offsets, algorithm), np.concatenate(expected))


def contrib(momenta, offsets):
    """Sequence of all jets, of which FastJet's Python wheel offers contrib's observables."""
    columns = [ak.unflatten(momenta[:, i], np.diff(offsets)) for i in range(4)]
    array = ak.zip(dict(zip(("px", "py", "pz", "E"), columns, strict=True)), with_name="Momentum4D")
    return fastjet.ClusterSequence(array, fastjet.JetDefinition(fastjet.cambridge_algorithm, LARGE))


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_nsubjettiness_equals_contribs_one_pass_kt_axes(jets, beta):
    momenta, offsets = jets
    theirs = np.asarray(contrib(momenta, offsets).njettiness(njets=[1, 2, 3, 4], beta=beta, R0=RADIUS))
    ours = np.stack([nsubjettiness(momenta, offsets, n, beta, RADIUS) for n in (1, 2, 3, 4)], axis=1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_correlators_equal_contribs(jets, beta):
    momenta, offsets = jets
    sequence, correlators = contrib(momenta, offsets), energy_correlators(momenta, offsets, beta)
    for ours, n in zip(correlators, (2, 3), strict=True):
        theirs = sequence.exclusive_jets_energy_correlator(1, beta, n, func="generalized")
        np.testing.assert_allclose(ours, np.asarray(theirs), rtol=1e-9, atol=1e-15)
    some = np.diff(offsets) >= 3
    for ratio, name in ((c2, "c2"), (d2, "d2")):
        theirs = np.asarray(sequence.exclusive_jets_energy_correlator(1, beta, func=name))
        np.testing.assert_allclose(ratio(*correlators)[some], theirs[some], rtol=1e-8)


def test_soft_drop_equals_contribs(jets):
    momenta, offsets = jets
    groomed = contrib(momenta, offsets).exclusive_jets_softdrop_grooming(1, 0.0, 0.1, R0=RADIUS)
    # FastJet gives -sqrt(-m^2) where rounding makes a mass squared negative.
    theirs = np.maximum(0, np.asarray(ak.flatten(groomed.msoftdrop, axis=None)))
    energy = np.array([jet[:, 3].sum() for jet in each(momenta, offsets)])
    ours = soft_drop_mass(momenta, offsets)
    np.testing.assert_allclose((ours / energy) ** 2, (theirs / energy) ** 2, rtol=1e-9, atol=1e-14)
