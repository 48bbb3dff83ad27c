"""Which of several Particle Transformers is compared with which."""

from collections.abc import Mapping
from typing import NamedTuple

from softjet.errors import InputError

BASE, DENSE = "base", "dense"
"""Methods of the model that everything starts from, and of that which is trained as long as the others."""


class Run(NamedTuple):
    """How a model came about; the method is one of `softjet.config.lowrank.Method`, or "base"."""

    method: str
    keep: float
    seed: int


class Comparison(NamedTuple):
    """Names of the dense model that a run is compared with, and of a third that says what training does.

    The third is another dense model trained as long from another seed, or else the base.
    """

    dense: str
    other: str


def comparisons(runs: Mapping[str, Run]) -> dict[str, Comparison]:
    """What each run is compared with; the first dense model stands on its own.

    Parameters
    ----------
    runs : mapping of str to Run
        With the base and a dense model for every seed.

    Raises
    ------
    InputError
        There is no base, or no dense model with the seed of a run.
    """
    base = next((name for name, run in runs.items() if run.method == BASE), None)
    dense = {run.seed: name for name, run in runs.items() if run.method == DENSE}
    if base is None or not dense:
        raise InputError("runs", "method", "hold no base or no dense model; give both beside the compressed")
    first = next(iter(dense.values()))
    found = {}
    for name, run in runs.items():
        if name == first:
            continue
        if run.method not in (BASE, DENSE) and run.seed not in dense:
            raise InputError(name, "seed", "has no dense run; train the dense model as long with that seed")
        reference = first if run.method in (BASE, DENSE) else dense[run.seed]
        other = next((one for one in dense.values() if one != reference), base)
        found[name] = Comparison(reference, other)
    return found


def pairs_of(against: Mapping[str, Comparison]) -> list[tuple[str, str]]:
    """Models whose attention is compared query by query."""
    found = [(name, one.dense) for name, one in against.items()]
    return list(dict.fromkeys([*found, *((one.other, one.dense) for one in against.values())]))
