"""What the substructure benchmark times: jets of a given mean multiplicity, and the calls."""

from collections.abc import Callable
from functools import partial

import awkward as ak
import fastjet
import numpy as np
import pyarrow as pa
from scipy.optimize import brentq

from softjet.errors import InputError
from softjet.jets.observables import add_substructure, correlators, momenta_of
from softjet.jets.particles import Floats, Integers
from softjet.jets.substructure import nsubjettiness_up_to, soft_drop_mass
from softjet.jets.tables import MOMENTUM, list_lengths

_WHOLE_JET = 1000.0
"""A radius that makes FastJet cluster a jet as a whole."""


def jets_of_mean_length(table: pa.Table, n: int, mean: float, seed: int) -> pa.Table:
    """Draw jets with replacement, with weights exp(a length) such that their mean multiplicity is `mean`.

    Parameters
    ----------
    table : pyarrow.Table
        Jets with the particles' momenta.
    n : int
        Jets drawn.
    mean : float
        Particles a jet, up to the noise of the draw.
    seed : int
        Of the draw.

    Raises
    ------
    InputError
        Where no jet is as short or none as long as that.
    """
    lengths = list_lengths(table, MOMENTUM[0])
    if not len(lengths) or not lengths.min() < mean < lengths.max():
        raise InputError("jets", MOMENTUM[0], f"no mix of these jets has {mean:g} particles on average")

    def weights(a: float) -> Floats:
        grown = np.exp(a * (lengths - mean))
        return grown / grown.sum()

    tilt = brentq(lambda a: weights(a) @ lengths - mean, -2, 2)
    drawn = np.random.default_rng(seed).choice(len(table), n, p=weights(tilt))
    return table.select(MOMENTUM).take(drawn).combine_chunks()


def substructure_calls(table: pa.Table) -> dict[tuple[str, str], Callable[[], object]]:
    """Calls to time, by code and observables; FastJet's are those of the contrib code in its wheel."""
    momenta, offsets = momenta_of(table)
    return {
        ("softjet", "soft-drop mass"): partial(soft_drop_mass, momenta, offsets),
        ("softjet", "tau1 to tau4"): partial(nsubjettiness_up_to, momenta, offsets, 4),
        ("softjet", "C2, D2, pT D"): partial(correlators, momenta, offsets),
        ("softjet", "all"): partial(add_substructure, table.select(MOMENTUM)),
        ("fastjet", "all but pT D"): partial(_with_fastjet, momenta, offsets),
    }


def _with_fastjet(momenta: Floats, offsets: Integers) -> None:
    columns = (ak.unflatten(momenta[:, i], np.diff(offsets)) for i in range(4))
    particles = ak.zip(dict(zip(("px", "py", "pz", "E"), columns, strict=True)), with_name="Momentum4D")
    definition = fastjet.JetDefinition(fastjet.cambridge_algorithm, _WHOLE_JET)
    sequence = fastjet.ClusterSequence(particles, definition)
    sequence.exclusive_jets_softdrop_grooming(1, 0.0, 0.1, R0=0.8)
    sequence.njettiness(njets=[1, 2, 3, 4], beta=1.0, R0=0.8)
    for observable in ("c2", "d2"):
        sequence.exclusive_jets_energy_correlator(1, 1.0, func=observable)
