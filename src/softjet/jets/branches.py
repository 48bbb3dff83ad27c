"""JetClass's branches, and those of the truth, from matched jets."""

from dataclasses import dataclass

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from softjet.jets import detector
from softjet.jets.detector import Candidates
from softjet.jets.events import Records, delta_phi
from softjet.jets.processes import HARD_PARTON, PROCESSES, match_codes
from softjet.jets.schema import LABELS, TRUTH_JET, TRUTH_PARTICLES, TRUTH_PRONGS
from softjet.jets.selection import Jets
from softjet.jets.substructure import jet_substructure
from softjet.jets.truth import Parents, is_secondary, trace

Branches = dict[str, NDArray]

_IDENTITY = {
    "part_isChargedHadron": detector.CHARGED_HADRON,
    "part_isNeutralHadron": detector.NEUTRAL_HADRON,
    "part_isPhoton": detector.PHOTON,
    "part_isElectron": detector.ELECTRON,
    "part_isMuon": detector.MUON,
}


@dataclass(frozen=True)
class MatchedJets:
    """Jets of a batch with the parents they belong to.

    `parent` (n_jets,) is each jet's row in `parents`; the jets' members are places in `candidates`, whose
    sources are places in `records`.
    """

    process: str
    records: Records
    candidates: Candidates
    jets: Jets
    parents: Parents
    parent: NDArray[np.int64]


def tree_branches(matched: MatchedJets) -> tuple[Branches, dict[str, ak.Array]]:
    """Make all branches of the ROOT tree; particles of a jet are sorted by pT, descending.

    Returns
    -------
    flat : dict of name to (n_jets,) array
    lists : dict of name to (n_jets, var) array
    """
    jets, candidates = matched.jets, matched.candidates
    counts = ak.num(jets.members).to_numpy()
    jet = np.repeat(np.arange(len(jets)), counts)
    particles = candidates[ak.flatten(jets.members).to_numpy()]
    particles = particles[np.lexsort((-np.hypot(particles.px, particles.py), jet))]
    of_particles = _measured(particles, jets, jet) | _ancestry(matched, particles, jet)
    lists = {name: ak.unflatten(column, counts) for name, column in of_particles.items()}
    prongs = {name: ak.from_regular(column) for name, column in _prongs(matched).items()}
    return _jets(jets, particles, counts) | _labels(matched), lists | prongs


def _jets(jets: Jets, particles: Candidates, counts: NDArray) -> Branches:
    momenta = np.stack([particles.px, particles.py, particles.pz, particles.e], axis=1)
    kinematics = {
        "jet_pt": jets.pt,
        "jet_eta": jets.eta,
        "jet_phi": jets.phi,
        "jet_energy": jets.e,
        "jet_nparticles": counts,
    }
    as_floats = {name: column.astype(np.float32) for name, column in kinematics.items()}
    return as_floats | jet_substructure(momenta, np.append(0, np.cumsum(counts)))


def _measured(particles: Candidates, jets: Jets, jet: NDArray) -> Branches:
    side = np.where(jets.eta[jet] > 0, 1, -1)
    columns = {
        "part_px": particles.px,
        "part_py": particles.py,
        "part_pz": particles.pz,
        "part_energy": particles.e,
        "part_deta": side * (particles.eta - jets.eta[jet]),
        "part_dphi": delta_phi(particles.phi, jets.phi[jet]),
        "part_d0val": particles.d0,
        "part_d0err": particles.d0_error,
        "part_dzval": particles.dz,
        "part_dzerr": particles.dz_error,
        "part_charge": particles.charge,
    }
    measured = {name: column.astype(np.float32) for name, column in columns.items()}
    return measured | {name: particles.identity == identity for name, identity in _IDENTITY.items()}


def _labels(matched: MatchedJets) -> Branches:
    """Label and truth of the jet; `aux_genpart_*` is 0 for QCD, as in JetClass."""
    n = len(matched.jets)
    parent = matched.records[matched.parents.place[matched.parent]]
    prongs = matched.records.pid[matched.parents.prongs[matched.parent]]
    mass2 = parent.e**2 - parent.px**2 - parent.py**2 - parent.pz**2
    columns = {"pid": parent.pid, "pt": parent.pt, "eta": parent.eta, "phi": parent.phi}
    known = PROCESSES[matched.process].parent != HARD_PARTON
    flat: Branches = {name: np.full(n, name == f"label_{matched.process}", dtype=np.int32) for name in LABELS}
    flat |= {f"aux_genpart_{name}": (known * column).astype(np.float32) for name, column in columns.items()}
    flat["aux_truth_match"] = match_codes(matched.process, prongs)
    columns["mass"] = np.sqrt(np.maximum(mass2, 0))
    return flat | {
        name: columns[name.removeprefix("truth_parent_")].astype(k) for name, k in TRUTH_JET.items()
    }


def _prongs(matched: MatchedJets) -> Branches:
    """Truth of the prongs, (n_jets, n_prongs) each."""
    prongs = matched.records[matched.parents.prongs[matched.parent]]
    columns = {
        "pid": prongs.pid,
        "pt": prongs.pt,
        "eta": prongs.eta,
        "phi": prongs.phi,
        "energy": prongs.e,
    }
    return {name: columns[name.removeprefix("truth_prong_")].astype(k) for name, k in TRUTH_PRONGS.items()}


def _ancestry(matched: MatchedJets, particles: Candidates, jet: NDArray) -> Branches:
    records = matched.records
    ancestry = trace(records, particles.source, matched.parents)
    source = records[particles.source]
    first = np.searchsorted(records.event, source.event)
    columns = {
        "prong": np.where(ancestry.parent == matched.parent[jet], ancestry.prong, -1),
        "heavy": ancestry.heavy,
        "pi0": ancestry.pi0,
        "secondary": is_secondary(source),
        "mother": source.mother - first,
        "mother_pid": records.pid[source.mother],
    }
    return {name: columns[name.removeprefix("truth_part_")].astype(k) for name, k in TRUTH_PARTICLES.items()}
