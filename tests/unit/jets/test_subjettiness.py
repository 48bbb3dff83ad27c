"""N-subjettiness by hand and against the minimum over all choices of axes."""

from functools import cache

import numpy as np
import pytest
from small_momenta import massless, one_jet, random_jet

from softjet.jets.subjettiness import nsubjettiness, nsubjettiness_up_to

RADIUS = 0.8


def test_tau_by_hand():
    momenta, offsets = one_jet(massless(100, 0.0, 0.0), massless(50, 0.4, 0.0))
    assert nsubjettiness(momenta, offsets, 1)[0] == pytest.approx(50 * 0.4 / (150 * 0.8), rel=1e-3)
    assert nsubjettiness(momenta, offsets, 2)[0] == 0
    square = (100 * (0.4 / 3) ** 2 + 50 * (0.8 / 3) ** 2) / (150 * 0.8**2)
    assert nsubjettiness(momenta, offsets, 1, beta=2.0)[0] == pytest.approx(square)


def partitions(size, n):
    """Owners of all ways to put `size` particles into `n` sets, none of them empty."""

    def grow(owners, used):
        if len(owners) == size:
            return [owners] if used == n else []
        choices = range(min(used + 1, n))
        return [full for owner in choices for full in grow([*owners, owner], max(used, owner + 1))]

    return np.array(grow([], 0))


def least_sum(pt, points, beta):
    """Smallest sum of pT Delta^beta over all axes: at the mean for beta = 2, found on a grid for beta = 1."""
    if beta == 2:
        return pt @ ((points - np.average(points, axis=0, weights=pt)) ** 2).sum(axis=1)
    axis, width = points.mean(axis=0), 1.0
    for _ in range(12):
        steps = np.linspace(-width, width, 21)
        grid = axis + np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        cost = np.linalg.norm(grid[:, None] - points, axis=-1) @ pt
        axis, width = grid[cost.argmin()], width / 4
    return min(cost.min(), (np.linalg.norm(points[:, None] - points, axis=-1) @ pt).min())


def least_tau(pt, points, n, beta):
    """Smallest tau_n of all."""

    @cache
    def of_set(members):
        return least_sum(pt[list(members)], points[list(members)], beta)

    sums = [
        sum(of_set(tuple(np.flatnonzero(owners == k).tolist())) for k in range(n))
        for owners in partitions(len(pt), n)
    ]
    return min(sums) / (pt.sum() * RADIUS**beta)


@pytest.fixture(scope="module")
def small_jets():
    random = np.random.default_rng(3)
    return [random_jet(random, size) for size in random.integers(5, 8, 14)]


def ratios(jets, n, beta):
    found = [nsubjettiness(*one_jet(*massless(pt, *points.T)), n, beta)[0] for pt, points in jets]
    return np.array(found) / [least_tau(pt, points, n, beta) for pt, points in jets]


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_tau_1_is_the_minimum(small_jets, beta):
    ratio = ratios(small_jets, 1, beta)
    assert ratio.min() > 1 - 1e-6
    assert ratio.max() < 1 + 1e-3


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_one_pass_is_never_below_the_minimum_and_mostly_there(small_jets, n, beta):
    ratio = ratios(small_jets, n, beta)
    assert ratio.min() > 1 - 1e-6
    assert (ratio < 1 + 2e-3).mean() >= 0.4


def test_all_of_one_clustering_equal_each_alone():
    random = np.random.default_rng(4)
    pt, points = random_jet(random, 40)
    momenta, offsets = massless(pt, *points.T), np.array([0, 0, 1, 3, 40])
    together = nsubjettiness_up_to(momenta, offsets, 4)
    for n in (1, 2, 3, 4):
        np.testing.assert_array_equal(together[:, n - 1], nsubjettiness(momenta, offsets, n))


def test_tau_does_not_see_collinear_splitting():
    random = np.random.default_rng(5)
    pt, points = random_jet(random, 12)
    momenta = massless(pt, *points.T)
    split = np.concatenate([0.3 * momenta, 0.7 * momenta])
    for n in (1, 2, 3):
        whole = nsubjettiness(momenta, np.array([0, 12]), n)
        np.testing.assert_allclose(nsubjettiness(split, np.array([0, 24]), n), whole, rtol=1e-9)


def test_a_jet_along_the_beam_has_no_tau():
    assert nsubjettiness(*one_jet([0, 0, 5, 5], [0, 0, 3, 3], [0, 0, 1, 1]), 1)[0] == 0


@pytest.mark.parametrize(("n", "beta"), [(0, 1.0), (2, 0.5), (2, 3.0), (2, np.nan)])
def test_impossible_arguments_are_refused(n, beta):
    with pytest.raises(ValueError, match="nsubjettiness"):
        nsubjettiness(*one_jet(massless(1, 0, 0)), n, beta)
