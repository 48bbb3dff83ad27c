"""Substructure on jets whose answer is known."""

import itertools

import numpy as np
import pytest

from softjet.jets.substructure import exclusive_subjets, jet_substructure, nsubjettiness, soft_drop_mass


def massless(pt, rapidity, phi):
    pt, rapidity, phi = np.broadcast_arrays(*map(np.asarray, (pt, rapidity, phi)))
    return np.stack(
        [pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(rapidity), pt * np.cosh(rapidity)], axis=-1
    )


def one_jet(*particles):
    momenta = np.array(particles, float)
    return momenta, np.array([0, len(momenta)])


def mass(momentum):
    return np.sqrt(momentum[3] ** 2 - (momentum[:3] ** 2).sum())


def test_two_prongs_keep_their_mass_and_a_soft_third_is_dropped():
    a, b, soft = massless(300, 0.1, 0.2), massless(200, 0.4, 0.0), massless(40, 0.9, 0.9)
    momenta, offsets = one_jet(a, b, soft)
    assert soft_drop_mass(momenta, offsets)[0] == pytest.approx(mass(a + b))
    assert soft_drop_mass(momenta, offsets, 0.001)[0] == pytest.approx(mass(a + b + soft))


def test_tau_by_hand():
    momenta, offsets = one_jet(massless(100, 0.0, 0.0), massless(50, 0.4, 0.0))
    assert nsubjettiness(momenta, offsets, 1)[0] == pytest.approx(50 * 0.4 / (150 * 0.8), rel=1e-3)
    assert nsubjettiness(momenta, offsets, 2)[0] == 0
    square = (100 * (0.4 / 3) ** 2 + 50 * (0.8 / 3) ** 2) / (150 * 0.8**2)
    assert nsubjettiness(momenta, offsets, 1, beta=2.0)[0] == pytest.approx(square)


def brute_tau(pt, points, n):
    """Smallest tau_n over all partitions, each with its geometric median as axis (found on a grid)."""
    best = np.inf
    for owner in itertools.product(range(n), repeat=len(pt)):
        total = 0.0
        for k in range(n):
            mine = np.array(owner) == k
            if mine.any():
                total += grid_median(pt[mine], points[mine])
        best = min(best, total)
    return best / (pt.sum() * 0.8)


def grid_median(pt, points):
    axis, width = points.mean(axis=0), 1.0
    for _ in range(12):
        steps = np.linspace(-width, width, 21)
        grid = axis + np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        cost = (pt * np.linalg.norm(grid[:, None] - points, axis=-1)).sum(axis=1)
        axis, width = grid[cost.argmin()], width / 4
    return min(cost.min(), (pt * np.linalg.norm(points[:, None] - points, axis=-1)).sum(axis=1).min())


@pytest.mark.parametrize("n", [1, 2])
def test_tau_is_not_below_the_global_minimum_and_close_to_it(n):
    random = np.random.default_rng(3)
    ratios = []
    for _ in range(6):
        pt, points = random.exponential(50, 6) + 1, random.normal(0, 0.3, (6, 2))
        momenta, offsets = one_jet(*massless(pt, points[:, 0], points[:, 1]))
        ratios.append(nsubjettiness(momenta, offsets, n)[0] / brute_tau(pt, points, n))
    assert min(ratios) > 1 - 1e-3
    assert np.median(ratios) < 1.02


def test_nothing_depends_on_rotation_across_pi_nor_on_particle_order():
    random = np.random.default_rng(7)
    pt, rapidity, phi = random.exponential(20, 30) + 1, random.normal(0, 0.3, 30), random.normal(0, 0.3, 30)
    offsets, order = np.array([0, 30]), random.permutation(30)
    plain = jet_substructure(massless(pt, rapidity, phi), offsets)
    turned = jet_substructure(massless(pt, rapidity, phi + np.pi)[order], offsets)
    for name, value in plain.items():
        np.testing.assert_allclose(turned[name], value, rtol=1e-4, err_msg=name)


def test_subjets_are_labelled_by_falling_pt_and_small_jets_have_one_a_particle():
    near = massless([10, 200, 20, 100], [0.0, 0.5, 0.02, 0.52], 0.0)
    pair = massless([1, 2], [0.0, 0.5], 0.0)
    momenta, offsets = np.concatenate([near, pair]), np.array([0, 4, 6])
    np.testing.assert_array_equal(exclusive_subjets(momenta, offsets, 2), [1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(exclusive_subjets(momenta, offsets, 3)[4:], [1, 0])


def test_a_jet_without_particles_gives_zeros_and_names_are_the_tables():
    momenta, offsets = massless([5.0], [0.0], [0.0]), np.array([0, 0, 1])
    values = jet_substructure(momenta, offsets)
    assert list(values) == ["jet_sdmass", "jet_tau1", "jet_tau2", "jet_tau3", "jet_tau4"]
    for column in values.values():
        assert column.dtype == np.float32
        np.testing.assert_allclose(column, 0, atol=1e-3)


@pytest.mark.parametrize(("n", "beta"), [(0, 1.0), (2, 0.5), (2, 3.0)])
def test_impossible_arguments_are_refused(n, beta):
    with pytest.raises(ValueError, match="nsubjettiness"):
        nsubjettiness(*one_jet(massless(1, 0, 0)), n, beta)


@pytest.mark.parametrize(
    ("momenta", "offsets"),
    [
        ([[np.nan, 0, 0, 1]], [0, 1]),
        ([[1, 0, 1]], [0, 1]),
        ([[1, 0, 0, 1]], [0, 2]),
        ([[1, 0, 0, 1]], [1, 1]),
    ],
)
def test_arrays_that_are_no_jets_are_refused(momenta, offsets):
    with pytest.raises(ValueError, match="must"):
        soft_drop_mass(np.array(momenta, float), np.array(offsets))
