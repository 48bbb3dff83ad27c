"""Soft drop, exclusive subjets and merge partners on jets whose answer is known."""

import numpy as np
import pytest
from small_momenta import massless, one_jet, random_jet

from softjet.errors import InputError
from softjet.jets.particles import checked_jets
from softjet.jets.substructure import exclusive_subjets, jet_substructure, merge_partners, soft_drop_mass


def mass(momentum):
    return np.sqrt(momentum[3] ** 2 - (momentum[:3] ** 2).sum())


def test_two_prongs_keep_their_mass_and_a_soft_third_is_dropped():
    a, b, soft = massless(300, 0.1, 0.2), massless(200, 0.4, 0.0), massless(40, 0.9, 0.9)
    momenta, offsets = one_jet(a, b, soft)
    assert soft_drop_mass(momenta, offsets)[0] == pytest.approx(mass(a + b))
    assert soft_drop_mass(momenta, offsets, 0.001)[0] == pytest.approx(mass(a + b + soft))


def test_nothing_depends_on_rotation_across_pi_nor_on_particle_order():
    random = np.random.default_rng(7)
    pt, points = random_jet(random, 30)
    rapidity, phi = points.T
    offsets, order = np.array([0, 30]), random.permutation(30)
    plain = jet_substructure(massless(pt, rapidity, phi), offsets)
    turned = jet_substructure(massless(pt, rapidity, phi + np.pi)[order], offsets)
    for name, value in plain.items():
        np.testing.assert_allclose(turned[name], value, rtol=1e-4, err_msg=name)


def test_a_particle_of_zeros_changes_nothing():
    pt, points = random_jet(np.random.default_rng(3), 20)
    momenta = massless(pt, *points.T)
    plain = jet_substructure(momenta, np.array([0, 20]))
    padded = jet_substructure(np.insert(momenta, 7, 0, axis=0), np.array([0, 21]))
    for name, value in plain.items():
        np.testing.assert_allclose(padded[name], value, rtol=1e-6, err_msg=name)


def test_subjets_are_labelled_by_falling_pt_and_small_jets_have_one_a_particle():
    near = massless([10, 200, 20, 100], [0.0, 0.5, 0.02, 0.52], 0.0)
    pair = massless([1, 2], [0.0, 0.5], 0.0)
    momenta, offsets = np.concatenate([near, pair]), np.array([0, 4, 6])
    np.testing.assert_array_equal(exclusive_subjets(momenta, offsets, 2), [1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(exclusive_subjets(momenta, offsets, 3)[4:], [1, 0])


def test_no_subjets_are_refused():
    with pytest.raises(ValueError, match="n_subjets 0 must be 1 or more"):
        exclusive_subjets(massless([1, 2], [0.0, 0.5], 0.0), np.array([0, 2]), 0)


def test_a_particle_merges_with_its_neighbour_or_with_the_hardest_of_a_subjet():
    line = massless([5, 50, 20, 1], [0.0, 0.1, 0.35, 1.0], 0.0)
    momenta, offsets = np.concatenate([line, line[:1]]), np.array([0, 4, 5])
    np.testing.assert_array_equal(merge_partners(momenta, offsets, "cambridge_aachen"), [1, 0, 1, 1, -1])


def test_kt_merges_the_softest_first_where_the_angle_alone_would_not():
    hard, near, soft = massless(100, 0.0, 0.0), massless(90, 0.1, 0.0), massless(0.1, 0.4, 0.0)
    momenta, offsets = one_jet(hard, near, soft)
    np.testing.assert_array_equal(merge_partners(momenta, offsets, "kt"), [1, 2, 1])
    np.testing.assert_array_equal(merge_partners(momenta, offsets, "cambridge_aachen"), [1, 0, 0])


def test_an_unknown_clustering_is_refused():
    with pytest.raises(ValueError, match="algorithm 'antikt' must be one of"):
        merge_partners(*one_jet(massless(1, 0, 0)), "antikt")


def test_a_jet_without_particles_gives_zeros_and_names_are_the_tables():
    momenta, offsets = massless([5.0], [0.0], [0.0]), np.array([0, 0, 1])
    values = jet_substructure(momenta, offsets)
    assert list(values) == ["jet_sdmass", "jet_tau1", "jet_tau2", "jet_tau3", "jet_tau4"]
    for column in values.values():
        assert column.dtype == np.float32
        np.testing.assert_allclose(column, 0, atol=1e-3)


@pytest.mark.parametrize(
    ("momenta", "offsets", "problem"),
    [
        ([[1, 0, 0, 1], [np.nan, 0, 0, 1]], [0, 2], "row 1 must be finite"),
        ([[1, 0, 0, 1], [1, 0, 0, -1]], [0, 2], "row 1 .* no positive energy"),
        ([[0, 0, 0, -1]], [0, 1], "row 0 .* no positive energy"),
        ([[0, 0, 0, 0], [1, 0, 0, 0]], [0, 2], "row 1 .* no positive energy"),
        ([[1, 0, 1]], [0, 1], r"must be \(n, 4\)"),
        ([[1, 0, 0, 1]], [0, 2], "must rise from 0 to 1"),
        ([[1, 0, 0, 1]], [1, 1], "must rise from 0 to 1"),
        ([[1, 0, 0, 1]], [0, 1, 0, 1], "must rise from 0 to 1"),
        ([[1, 0, 0, 1]], [], "must rise from 0 to 1"),
    ],
)
def test_arrays_that_are_no_jets_are_refused(momenta, offsets, problem):
    with pytest.raises(InputError, match=problem):
        checked_jets(np.array(momenta, float), np.array(offsets))
