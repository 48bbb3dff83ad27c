"""Simulate jets of one JetClass class: Pythia 8, detector, anti-kT, matching, ROOT file."""

from collections.abc import Iterator
from pathlib import Path

import awkward as ak
import numpy as np

from softjet.errors import InputError
from softjet.jets.branches import Branches, MatchedJets, tree_branches
from softjet.jets.collisions import Collisions
from softjet.jets.detector import detect
from softjet.jets.jetclass_tree import write_tree
from softjet.jets.processes import PROCESSES
from softjet.jets.schema import CLASSES
from softjet.jets.selection import find_jets, match
from softjet.jets.truth import find_parents
from softjet.progress import Progress

EVENTS_A_BATCH = 100
"""Fixed, since the random numbers' order depends on it: more jets of a seed begin with the same jets."""

_PYTHIA_SEEDS = 900_000_000
"""Pythia takes no larger seed."""


def simulate(target: str | Path, process: str, n_jets: int, seed: int) -> None:
    """Simulate selected jets of one class and write them as a JetClass ROOT file.

    Parameters
    ----------
    target : path
        ROOT file to write; tree, branches and units of JetClass, plus truth_* branches of the schema.
    process : str
        Class, one of softjet.jets.schema.CLASSES.
    n_jets : int
        Jets in the file, exactly.
    seed : int
        The same seed gives the same arrays (the file's bytes hold a date and differ).

    Raises
    ------
    InputError
        For an unknown class, or no jets asked for.
    """
    if process not in PROCESSES:
        raise InputError(target, "process", f"{process!r} is none of {', '.join(CLASSES)}")
    if n_jets < 1 or seed < 0:
        raise InputError(target, "n_jets and seed", "ask for at least one jet, and give a seed of at least 0")
    batches, done = [], 0
    with Progress(n_jets, f"simulate {process}", "jets") as progress:
        for flat, lists in jet_batches(process, seed):
            found = min(len(flat["jet_pt"]), n_jets - done)
            batches.append(
                ({k: v[:found] for k, v in flat.items()}, {k: v[:found] for k, v in lists.items()})
            )
            done += found
            progress.advance(found)
            if done == n_jets:
                break
    flat = {name: np.concatenate([batch[0][name] for batch in batches]) for name in batches[0][0]}
    lists = {name: ak.concatenate([batch[1][name] for batch in batches]) for name in batches[0][1]}
    write_tree(target, flat, lists)


Batch = tuple[Branches, dict[str, ak.Array]]
"""Branches of a few jets: one number a jet, and lists."""


def seed_of_collisions(process: str, seed: int) -> int:
    """Pythia's seed, 1 to 900,000,000: no two seeds less than that apart share one within a class.

    Parameters
    ----------
    process : str
        Class.
    seed : int
        Of the job.
    """
    start = np.random.SeedSequence(CLASSES.index(process)).generate_state(1, np.uint64)[0]
    return 1 + (int(start) + seed) % _PYTHIA_SEEDS


def jet_batches(process: str, seed: int) -> Iterator[Batch]:
    """Endless batches of selected jets of a class, as the branches of the ROOT tree."""
    rng = np.random.default_rng([seed, CLASSES.index(process)])
    pythia_seed = seed_of_collisions(process, seed)
    for records in Collisions(PROCESSES[process], pythia_seed, EVENTS_A_BATCH):
        parents = find_parents(records, PROCESSES[process])
        candidates = detect(records, rng)
        jets = find_jets(candidates, EVENTS_A_BATCH)
        jet, parent = match(jets, records, parents)
        if len(jet):
            yield tree_branches(MatchedJets(process, records, candidates, jets[jet], parents, parent))
