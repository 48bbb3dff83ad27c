"""Which jets are kept: JetClass's kinematic window and its match of jets to parents."""

from dataclasses import dataclass

import awkward as ak
import fastjet
import numpy as np
from numpy.typing import NDArray

from softjet.jets.detector import Candidates
from softjet.jets.events import Columns, Momenta, Records, delta_r, pseudorapidity
from softjet.jets.truth import Parents

RADIUS = 0.8
PT_RANGE = (500.0, 1000.0)
MAX_ETA = 2.0

EARLY_PT_RANGE = (450.0, 1150.0)
EARLY_MAX_ETA = 2.2
EARLY_RADIUS = 1.0
"""The same for the sum of the prongs before the shower. What lies outside gives fewer than 1 jet in 100,
but for Tbl (1 in 15) and Hqql (1 in 25), where the rest of the event lifts them from below 450 GeV."""


@dataclass(frozen=True)
class Jets(Columns, Momenta):
    """Jets, all (n,): momenta in GeV; `members` (n, var) are places among the candidates."""

    event: NDArray[np.int64]
    px: NDArray[np.float64]
    py: NDArray[np.float64]
    pz: NDArray[np.float64]
    e: NDArray[np.float64]
    members: ak.Array


def may_give_a_jet(records: Records, parents: Parents) -> bool:
    """Tell whether any of the parents' prongs point close enough to a selected jet, before the shower."""
    px, py, pz = (getattr(records, axis)[parents.prongs].sum(axis=1) for axis in ("px", "py", "pz"))
    eta, phi = pseudorapidity(px, py, pz), np.arctan2(py, px)
    pt = np.hypot(px, py)
    good = (EARLY_PT_RANGE[0] < pt) & (pt < EARLY_PT_RANGE[1]) & (np.abs(eta) < EARLY_MAX_ETA)
    good &= _farthest_prong(records, parents, eta, phi) < EARLY_RADIUS
    return bool(good.any())


def _farthest_prong(records: Records, parents: Parents, eta: NDArray, phi: NDArray) -> NDArray[np.float64]:
    """Distance of each direction from the farthest prong of the parent in the same row."""
    prongs = records[parents.prongs]
    return delta_r(eta[:, None], phi[:, None], prongs.eta, prongs.phi).max(axis=1, initial=0.0)


def find_jets(candidates: Candidates, n_events: int) -> Jets:
    """Cluster each event with anti-kT, R = 0.8, and keep jets in the kinematic window.

    Parameters
    ----------
    candidates : Candidates
        Sorted by event.
    n_events : int
        Events in the batch; those without candidates count.
    """
    per_event = np.bincount(candidates.event, minlength=n_events)
    momenta = {"px": candidates.px, "py": candidates.py, "pz": candidates.pz, "E": candidates.e}
    events = ak.unflatten(ak.zip(momenta, with_name="Momentum4D"), per_event)
    clusters = fastjet.ClusterSequence(events, fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS))
    found = clusters.inclusive_jets(min_pt=PT_RANGE[0])
    first = np.cumsum(per_event) - per_event
    members = clusters.constituent_index(min_pt=PT_RANGE[0]) + first
    event = np.repeat(np.arange(n_events), ak.to_numpy(ak.num(found)))
    px, py, pz, e = (ak.to_numpy(ak.flatten(found[axis])) for axis in ("px", "py", "pz", "E"))
    jets = Jets(event, px, py, pz, e, ak.flatten(members))
    return jets[(jets.pt > PT_RANGE[0]) & (jets.pt < PT_RANGE[1]) & (np.abs(jets.eta) < MAX_ETA)]


def match(jets: Jets, records: Records, parents: Parents) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair jets with parents of their event whose prongs all lie within R of the jet's axis.

    Returns
    -------
    jet, parent : arrays of int
        Rows of each pair; a jet appears once, with its first parent.
    """
    jet, parent = np.nonzero(jets.event[:, None] == parents.event)
    pairs = parents[parent]
    near = _farthest_prong(records, pairs, jets.eta[jet], jets.phi[jet]) < RADIUS
    jet, first = np.unique(jet[near], return_index=True)
    return jet, parent[near][first]
