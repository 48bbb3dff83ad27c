"""Energy correlators against loops written out, pT D by hand."""

import itertools

import numpy as np
import pytest
from small_momenta import massless, one_jet, random_jet

from softjet.jets.correlators import c2, d2, energy_correlators, pt_dispersion


def loops(pt, points, beta):
    """e2 and e3, term by term."""
    share = pt / pt.sum()

    def angle(i, j):
        return np.linalg.norm(points[i] - points[j]) ** beta

    particles = range(len(pt))
    e2 = sum(share[i] * share[j] * angle(i, j) for i, j in itertools.combinations(particles, 2))
    e3 = sum(
        share[i] * share[j] * share[k] * angle(i, j) * angle(i, k) * angle(j, k)
        for i, j, k in itertools.combinations(particles, 3)
    )
    return e2, e3


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_correlators_equal_loops(beta):
    random = np.random.default_rng(11)
    jets = [random_jet(random, size) for size in (3, 4, 10, 20)]
    momenta = np.concatenate([massless(pt, *points.T) for pt, points in jets])
    offsets = np.cumsum([0, *(len(pt) for pt, _ in jets)])
    expected = np.array([loops(pt, points, beta) for pt, points in jets])
    np.testing.assert_allclose(np.stack(energy_correlators(momenta, offsets, beta), axis=1), expected, 1e-12)


def test_equilateral_triangle_by_hand():
    side = 0.4
    momenta, offsets = one_jet(*massless(100, [0, side, side / 2], [0, 0, side * np.sqrt(3) / 2]))
    e2, e3 = energy_correlators(momenta, offsets)
    assert e2[0] == pytest.approx(side / 3)
    assert e3[0] == pytest.approx(side**3 / 27)
    assert c2(e2, e3)[0] == pytest.approx(side / 3)
    assert d2(e2, e3)[0] == pytest.approx(1)


def test_small_jets_are_defined():
    momenta, offsets = massless([5.0, 30.0, 10.0], [0.0, 0.1, 0.4], 0.0), np.array([0, 0, 1, 3])
    e2, e3 = energy_correlators(momenta, offsets)
    np.testing.assert_allclose(e2, [0, 0, 0.75 * 0.25 * 0.3])
    for values in (e3, c2(e2, e3), d2(e2, e3)):
        np.testing.assert_array_equal(values, [0, 0, 0])


def test_correlators_do_not_see_collinear_splitting_nor_the_azimuth_of_the_jet():
    random = np.random.default_rng(12)
    pt, points = random_jet(random, 12)
    whole = energy_correlators(massless(pt, *points.T), np.array([0, 12]))
    turned = massless(pt, points[:, 0], points[:, 1] + np.pi)
    split = energy_correlators(np.concatenate([0.3 * turned, 0.7 * turned]), np.array([0, 24]))
    np.testing.assert_allclose(split, whole, rtol=1e-9)


@pytest.mark.parametrize("beta", [0.0, -1.0, np.nan])
def test_an_exponent_that_is_not_above_zero_is_refused(beta):
    with pytest.raises(ValueError, match="energy_correlators: beta"):
        energy_correlators(*one_jet(massless(1, 0, 0)), beta)


def test_dispersion_by_hand():
    momenta, offsets = massless([7.0, 3.0, 4.0, 2.0, 2.0, 2.0, 2.0], 0.3, 1.0), np.array([0, 0, 1, 3, 7])
    np.testing.assert_allclose(pt_dispersion(momenta, offsets), [0, 1, 5 / 7, 0.5])


def test_a_jet_along_the_beam_has_none_of_them():
    momenta, offsets = one_jet([0, 0, 5, 5], [0, 0, 3, 3], [0, 0, -1, 1])
    assert pt_dispersion(momenta, offsets)[0] == 0
    np.testing.assert_array_equal(energy_correlators(momenta, offsets), [[0], [0]])
