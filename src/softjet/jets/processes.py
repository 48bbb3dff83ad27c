"""The ten JetClass classes as Pythia 8 processes.

Every process makes its jet's parent recoil against something the detector does not see, or (top)
against a second parent of the same kind, so that the rest of the event hardly touches the jet.
Source: the JetClass paper (arXiv 2202.03772), whose samples come from MadGraph; here Pythia's own
leading-order matrix elements take its place.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softjet.jets.tracks import HALF_LENGTH_MM, RADIUS_MM

GLUON, HIGGS, TOP, W, Z = 21, 25, 6, 24, 23
HARD_PARTON = 0
"""Parent of a QCD jet: no particle's identity but the parton of the hard process."""

COMMON = (
    "Beams:eCM = 13000.",
    "PhaseSpace:pTHatMin = 480.",
    "PhaseSpace:pTHatMax = 1050.",
    "ParticleDecays:limitCylinder = on",
    f"ParticleDecays:xyMax = {RADIUS_MM}",
    f"ParticleDecays:zMax = {HALF_LENGTH_MM}",
)
"""13 TeV; the range of pT that feeds jets of 500 to 1000 GeV; K0S, Lambda and the like decay if they do so
inside the tracker, and reach the calorimeters whole otherwise."""

_INVISIBLE_Z = ("WeakZ0:gmZmode = 2", "23:onMode = off", "23:onIfAny = 12 14 16")
_QUARKS = "1 2 3 4 5"


def _higgs(decay: str, *more: str) -> tuple[str, ...]:
    return ("HiggsSM:ffbar2HZ = on", *_INVISIBLE_Z, "25:onMode = off", f"25:onIfMatch = {decay}", *more)


def _top(w_decays: str) -> tuple[str, ...]:
    return ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", "24:onMode = off", f"24:onIfAny = {w_decays}")


@dataclass(frozen=True)
class Process:
    """How Pythia makes a class, and what its jets hold.

    Parameters
    ----------
    settings : tuple of str
        Lines for Pythia, on top of COMMON.
    parent : int
        |PDG identity| of the heavy particle; HARD_PARTON for QCD.
    partons, leptons : int
        Number of quarks or gluons, and of charged leptons, among the prongs.
    """

    settings: tuple[str, ...]
    parent: int
    partons: int
    leptons: int = 0

    @property
    def prongs(self) -> int:
        """Number of prongs; neutrinos are none."""
        return self.partons + self.leptons


PROCESSES = {
    "QCD": Process(
        ("WeakBosonAndParton:qg2gmZq = on", "WeakBosonAndParton:qqbar2gmZg = on", *_INVISIBLE_Z),
        HARD_PARTON,
        1,
    ),
    "Hbb": Process(_higgs("5 -5"), HIGGS, 2),
    "Hcc": Process(_higgs("4 -4"), HIGGS, 2),
    "Hgg": Process(_higgs("21 21"), HIGGS, 2),
    "H4q": Process(_higgs("24 -24", "24:onMode = off", f"24:onIfAny = {_QUARKS}"), HIGGS, 4),
    "Hqql": Process(_higgs("24 -24", "24:onMode = off", f"24:onIfAny = {_QUARKS} 11 13"), HIGGS, 2, 1),
    "Zqq": Process(
        (
            "WeakDoubleBoson:ffbar2gmZgmZ = on",
            "WeakZ0:gmZmode = 2",
            "23:onMode = off",
            f"23:onIfAny = {_QUARKS} 12 14 16",
        ),
        Z,
        2,
    ),
    "Wqq": Process(
        (
            "WeakDoubleBoson:ffbar2ZW = on",
            *_INVISIBLE_Z,
            "24:onMode = off",
            f"24:onIfAny = {_QUARKS}",
        ),
        W,
        2,
    ),
    "Tbqq": Process(_top(_QUARKS), TOP, 3),
    "Tbl": Process(_top("11 13"), TOP, 1, 1),
}
"""By class. Of a pair of parents (ZZ, tt) each that decays the right way may give a jet."""


def match_codes(name: str, prong_pid: NDArray) -> NDArray[np.float32]:
    """JetClass's `aux_truth_match`: a number for the class and the flavours of its prongs.

    Parameters
    ----------
    name : str
        One of CLASSES.
    prong_pid : (n_jets, n_prongs) array of int
        PDG identities of the prongs.

    Notes
    -----
    Tens: 1 top, 2 W, 3 Z, 4 Higgs, 5 QCD. Units: top 1 with a charm (or b) quark from the W, 2 without,
    5 electron, 6 muon; W 1 with charm, 2 without; Z 1 bb, 2 cc, 3 lighter; Higgs 1 bb, 2 cc, 4 gg, 5 four
    quarks, 6 two quarks and a lepton.
    """
    flavour = np.sort(np.abs(prong_pid), axis=1)
    of_class = {
        "QCD": lambda: np.full(len(flavour), 50),
        "Hbb": lambda: np.full(len(flavour), 41),
        "Hcc": lambda: np.full(len(flavour), 42),
        "Hgg": lambda: np.full(len(flavour), 44),
        "H4q": lambda: np.full(len(flavour), 45),
        "Hqql": lambda: np.full(len(flavour), 46),
        "Zqq": lambda: np.select([flavour[:, 0] == 5, flavour[:, 0] == 4], [31, 32], 33),
        "Wqq": lambda: np.where(flavour[:, 1] >= 4, 21, 22),
        "Tbqq": lambda: np.where(flavour[:, 1] >= 4, 11, 12),
        "Tbl": lambda: np.where(flavour[:, 1] == 11, 15, 16),
    }
    return np.asarray(of_class[name](), dtype=np.float32)
