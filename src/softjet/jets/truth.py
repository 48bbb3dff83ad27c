"""What the generator knows of a jet: its parent, its prongs, and the ancestry of each particle."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softjet.jets.events import Columns, Records
from softjet.jets.processes import GLUON, HARD_PARTON, Process

SECONDARY_MM = 0.01
"""A particle made farther than this from the collision is secondary."""


@dataclass(frozen=True)
class Parents(Columns):
    """Parents that decayed the way their class asks, all (n,) but `prongs`.

    `event` is the number of the event, `place` the parent's place among the records and `prongs` (n, P)
    those of its prongs, in the order of the record.
    """

    event: NDArray[np.int64]
    place: NDArray[np.int64]
    prongs: NDArray[np.int64]


def find_parents(records: Records, process: Process) -> Parents:
    """Find every parent whose prongs are those of `process`.

    The parent is the last copy before it decays and the prongs are its direct decay products (those of
    the W or Z for H to WW and top), before they radiate, as in JetClass.
    """
    flavour = np.abs(records.pid)
    parton = ((flavour >= 1) & (flavour <= 5)) | (flavour == GLUON)
    lepton = (flavour == 11) | (flavour == 13)
    if process.parent == HARD_PARTON:
        place = np.flatnonzero((np.abs(records.status) == 23) & parton)
        return Parents(records.event[place], place, place[:, None])
    from_resonance = np.isin(flavour[records.mother], (6, 23, 24, 25))
    prongs = np.flatnonzero((parton | lepton) & from_resonance)
    return _whole_decays(records, process, prongs, parton[prongs])


def _whole_decays(records: Records, process: Process, prongs: NDArray, parton: NDArray) -> Parents:
    """Group the decay products by their parent and keep the groups that `process` asks for."""
    owner = _climb_to(records, prongs, process.parent)
    place, group = np.unique(owner, return_inverse=True)
    partons = np.bincount(group, parton, minlength=len(place))
    leptons = np.bincount(group, ~parton, minlength=len(place))
    right = (partons == process.partons) & (leptons == process.leptons)
    right &= np.abs(records.pid[place]) == process.parent
    kept = right[group]
    members = prongs[kept][np.argsort(owner[kept], kind="stable")].reshape(-1, process.prongs)
    return Parents(records.event[place[right]], place[right], members)


def _climb_to(records: Records, start: NDArray, flavour: int) -> NDArray:
    """Place of the nearest ancestor of |identity| `flavour`, or of the whole event."""
    here = records.mother[start]
    while True:
        above = records.mother[here]
        going = (np.abs(records.pid[here]) != flavour) & (above != here)
        if not going.any():
            return here
        here = np.where(going, above, here)


def leading_mothers(records: Records) -> NDArray[np.int64]:
    """Place of one mother of each entry, so that ancestry is a tree.

    A hadron made in a string has all partons of the string as mothers; the one nearest in angle is taken.
    Everything else has its first mother.
    """
    mother = records.mother.copy()
    hadron = np.flatnonzero(
        (np.abs(records.status) > 80) & (np.abs(records.status) < 90) & (records.last_mother > mother)
    )
    partons = records.last_mother[hadron] - mother[hadron] + 1
    start = np.cumsum(partons) - partons
    child = np.repeat(hadron, partons)
    parton = np.arange(len(child)) - np.repeat(start - mother[hadron], partons)
    cosine = _cosine(records, child, parton)
    best = np.repeat(np.maximum.reduceat(cosine, start), partons) if len(start) else cosine
    winner = np.flatnonzero(cosine == best)[::-1]
    mother[child[winner]] = parton[winner]
    return mother


def _cosine(records: Records, a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Cosine of the opening angle between the momenta of entries `a` and `b`, times |p_a|."""
    dot = records.px[a] * records.px[b] + records.py[a] * records.py[b] + records.pz[a] * records.pz[b]
    length = np.sqrt(records.px[b] ** 2 + records.py[b] ** 2 + records.pz[b] ** 2)
    return dot / np.maximum(length, 1e-12)


@dataclass(frozen=True)
class Ancestry(Columns):
    """Ancestry of particles, all (n,).

    `parent` is the row in Parents and `prong` the place in its prongs, both -1 for none; `heavy` is 5 with a
    b hadron among the ancestors, else 4 with a c hadron, else 0; `pi0` with a pi0 among them.
    """

    parent: NDArray[np.int64]
    prong: NDArray[np.int64]
    heavy: NDArray[np.int64]
    pi0: NDArray[np.bool_]


def trace(records: Records, particles: NDArray, parents: Parents) -> Ancestry:
    """Climb from each of `particles` (places among the records) to the start of its event.

    All particles climb together, one generation a step.
    """
    mother = leading_mothers(records)
    flavour = hadron_flavour(records.pid)
    row, prong = np.full(len(records), -1), np.full(len(records), -1)
    row[parents.prongs] = np.arange(len(parents))[:, None]
    prong[parents.prongs] = np.arange(parents.prongs.shape[1])
    found = Ancestry(*np.full((2, len(particles)), -1), *np.zeros((2, len(particles)), dtype=np.int64))
    here, climbing = particles, np.arange(len(particles))
    while len(climbing):
        np.maximum.at(found.parent, climbing, row[here])
        np.maximum.at(found.prong, climbing, prong[here])
        np.maximum.at(found.heavy, climbing, flavour[here])
        np.maximum.at(found.pi0, climbing, records.pid[here] == 111)
        above = mother[here]
        on = above != here
        here, climbing = above[on], climbing[on]
    return Ancestry(found.parent, found.prong, found.heavy, found.pi0.astype(bool))


def hadron_flavour(pid: NDArray) -> NDArray[np.int64]:
    """5 for b hadrons, 4 for c hadrons, 0 for everything else (PDG numbering scheme)."""
    pid = np.abs(pid)
    heaviest = np.maximum(pid // 100 % 10, pid // 1000 % 10)
    is_hadron = (pid > 100) & (pid // 10 % 10 > 0)
    return np.where(is_hadron & (heaviest >= 4) & (heaviest <= 5), heaviest, 0)


def is_secondary(records: Records) -> NDArray[np.bool_]:
    """Made more than SECONDARY_MM from the collision."""
    return np.sqrt(records.x**2 + records.y**2 + records.z**2) > SECONDARY_MM
