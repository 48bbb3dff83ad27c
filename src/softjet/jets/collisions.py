"""Collisions by Pythia 8, in batches of arrays."""

from collections.abc import Iterator

import awkward as ak
import numpy as np
import pythia8mc
from numpy.typing import NDArray

from softjet.jets.events import Records
from softjet.jets.processes import COMMON, Process
from softjet.jets.selection import may_give_a_jet
from softjet.jets.truth import find_parents


class _Veto(pythia8mc.UserHooks):
    """Drop a hard process before its shower if it cannot give a selected jet."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process

    def canVetoProcessLevel(self) -> bool:  # noqa: N802
        return True

    def doVetoProcessLevel(self, event: pythia8mc.Event) -> bool:  # noqa: N802
        records = _hard_process(event)
        return not may_give_a_jet(records, find_parents(records, self._process))


class Collisions:
    """Endless collisions of one process.

    Parameters
    ----------
    process : Process
    seed : int
        Pythia's seed, 1 to 900,000,000.
    batch : int
        Events a batch.
    """

    def __init__(self, process: Process, seed: int, batch: int) -> None:
        self._batch = batch
        self._pythia = pythia8mc.Pythia("", False)
        settings = ("Print:quiet = on", "Random:setSeed = on", f"Random:seed = {seed}")
        for line in (*settings, *COMMON, *process.settings):
            if not self._pythia.readString(line):
                raise RuntimeError(f"Pythia refuses {line!r}")
        self._veto = _Veto(process)
        self._pythia.addUserHooksPtr(self._veto)
        if not self._pythia.init():
            raise RuntimeError("Pythia does not start")

    def __iter__(self) -> Iterator[Records]:
        while True:
            yield self._records(self._pythia.nextBatch(self._batch).prt)

    def _records(self, entries: ak.Array) -> Records:
        length = ak.to_numpy(ak.num(entries))
        first = np.repeat(np.cumsum(length) - length, length)
        event = np.repeat(np.arange(len(length)), length)
        pid = _flat(entries.id)
        vertex = ak.fill_none(entries.vProd, {"px": 0.0, "py": 0.0, "pz": 0.0, "e": 0.0})
        columns = [
            event,
            pid,
            _flat(entries.status),
            _flat(entries.mother1) + first,
            _flat(entries.mother2) + first,
            self._charges(pid),
            *(_flat(entries.p[component]) for component in ("px", "py", "pz", "e")),
            *(_flat(vertex[component]) for component in ("px", "py", "pz")),
        ]
        return Records(*columns)

    def _charges(self, pid: NDArray) -> NDArray[np.float64]:
        known, place = np.unique(pid, return_inverse=True)
        return np.array([self._pythia.particleData.charge(int(one)) for one in known])[place]


def _flat(jagged: ak.Array) -> NDArray:
    values = ak.to_numpy(ak.flatten(jagged))
    return values.astype(np.int64 if values.dtype.kind == "i" else np.float64)


def _hard_process(event: pythia8mc.Event) -> Records:
    """Records of one event of a few entries."""
    entries = [event[i] for i in range(event.size())]
    integers = np.array([(0, p.id(), p.status(), p.mother1(), p.mother2()) for p in entries])
    momenta = np.array([(0, p.px(), p.py(), p.pz(), p.e(), 0, 0, 0) for p in entries])
    return Records(*integers.T, *momenta.T)
