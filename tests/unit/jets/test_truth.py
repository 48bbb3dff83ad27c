"""Ancestry, on event records written by hand."""

import numpy as np
import pytest

from softjet.jets.events import Records
from softjet.jets.processes import PROCESSES, match_codes
from softjet.jets.schema import CLASSES
from softjet.jets.truth import find_parents, hadron_flavour, is_secondary, leading_mothers, trace


def record(*entries):
    """One event; an entry is pid, status, mother, last mother, (px, py, pz)."""
    whole = (90, 11, 0, 0, (0, 0, 0))
    pid, status, mother, last, momentum = zip(whole, *entries, strict=True)
    momentum = np.array(momentum, dtype=float)
    zeros = np.zeros(len(pid))
    integers = [np.zeros(len(pid), dtype=np.int64), *(np.array(one) for one in (pid, status, mother, last))]
    energy = np.sqrt((momentum**2).sum(axis=1))
    return Records(*integers, zeros, *momentum.T, energy, zeros, zeros, zeros)


X, Y = (10.0, 0.0, 0.0), (0.0, 10.0, 0.0)

TOP = record(
    (6, -22, 0, 0, (100, 0, 0)),  # 1
    (6, -62, 1, 1, (100, 0, 0)),  # 2, last copy
    (24, -22, 2, 0, (60, 5, 0)),  # 3
    (5, -23, 2, 0, X),  # 4
    (24, -52, 3, 3, (60, 5, 0)),  # 5, last copy
    (2, -23, 5, 0, Y),  # 6
    (-1, -23, 5, 0, (10, 10, 0)),  # 7
    (21, -51, 4, 0, (1, 0, 0)),  # 8, radiated by the b quark
    (-13, -23, 0, 0, X),  # 9, from nowhere
)


def test_parent_is_the_last_copy_and_prongs_are_its_decay():
    parents = find_parents(TOP, PROCESSES["Tbqq"])
    assert parents.place.tolist() == [2]
    assert parents.prongs.tolist() == [[4, 6, 7]]


@pytest.mark.parametrize("name", ["Tbl", "Hbb", "Wqq", "Zqq"])
def test_another_decay_is_no_parent(name):
    found = find_parents(TOP, PROCESSES[name])
    assert found.prongs.tolist() == ([[6, 7]] if name == "Wqq" else [])


def test_hard_parton_is_its_own_prong():
    parents = find_parents(record((1, -23, 0, 0, X), (23, -22, 0, 0, Y)), PROCESSES["QCD"])
    assert parents.place.tolist() == [1]
    assert parents.prongs.tolist() == [[1]]


STRING = record(
    (23, -22, 0, 0, (10, 10, 0)),  # 1
    (5, -23, 1, 0, X),  # 2
    (-5, -23, 1, 0, Y),  # 3
    (511, -83, 2, 3, (9, 1, 0)),  # 4, of the string between both quarks, near the first
    (111, -84, 2, 3, (1, 5, 0)),  # 5, near the second
    (421, -91, 4, 0, (5, 1, 0)),  # 6
    (211, 91, 6, 0, (5, 1, 0)),  # 7
    (22, 91, 5, 0, (0, 3, 0)),  # 8
    (22, 91, 5, 0, (1, 2, 0)),  # 9
)


def test_a_hadron_of_a_string_belongs_to_the_nearest_parton():
    assert leading_mothers(STRING).tolist() == [0, 0, 1, 1, 2, 3, 4, 6, 5, 5]


def test_trace():
    parents = find_parents(STRING, PROCESSES["Zqq"])
    found = trace(STRING, np.array([7, 8, 9, 1]), parents)
    assert found.parent.tolist() == [0, 0, 0, -1]
    assert found.prong.tolist() == [0, 1, 1, -1]
    assert found.heavy.tolist() == [5, 0, 0, 0]
    assert found.pi0.tolist() == [False, True, True, False]


def test_hadron_flavour():
    pid = [511, -521, 5122, 553, 421, -4122, 443, 2212, 211, 5, 21, 4101, 90]
    assert hadron_flavour(np.array(pid)).tolist() == [5, 5, 5, 5, 4, 4, 4, 0, 0, 0, 0, 0, 0]


def test_secondary_is_by_distance():
    near = STRING[np.array([1, 2])]
    near.x[:] = [0.009, 0.008]
    near.z[:] = [0.0, 0.008]
    assert is_secondary(near).tolist() == [False, True]


def test_every_class_has_its_process_and_codes():
    assert tuple(PROCESSES) == CLASSES
    assert match_codes("Tbqq", np.array([[5, 4, -3], [-5, 2, -1]])).tolist() == [11, 12]
    assert match_codes("Tbl", np.array([[5, -11], [5, 13]])).tolist() == [15, 16]
    assert match_codes("Wqq", np.array([[4, -3], [2, -1]])).tolist() == [21, 22]
    assert match_codes("Zqq", np.array([[5, -5], [4, -4], [2, -2]])).tolist() == [31, 32, 33]
    assert match_codes("QCD", np.array([[21]])).tolist() == [50]
