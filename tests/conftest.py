"""Fixtures that unit and oracle tests share."""

from functools import cache

import pytest
import torch
import uproot

# Small tensors: a second thread costs more than it gives.
torch.set_num_threads(1)

JETS = 60
"""Simulated jets a class."""


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """Function from a class to its simulated jets (an Awkward array of the tree's branches)."""
    from softjet.jets.schema import TREE
    from softjet.jets.simulate import simulate

    folder = tmp_path_factory.mktemp("simulated")

    @cache
    def of_class(name):
        simulate(folder / f"{name}.root", name, JETS, seed=11)
        return uproot.open(folder / f"{name}.root")[TREE].arrays()

    return of_class
