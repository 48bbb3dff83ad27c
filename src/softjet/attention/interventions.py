"""Every intervention on the attention of a network, in each layer and head, on a sample of jets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from softjet.attention.intervene import (
    TOLERANCE,
    Cut,
    Edges,
    Edit,
    Pass,
    argmax_edges,
    find_donors,
    forward,
    rerun,
    shuffle,
    silence,
    silence_random,
    subjet_edges,
)
from softjet.attention.statistics import ALL
from softjet.config.interventions import Interventions
from softjet.config.part import ParTModel
from softjet.jets.features import Particles, particles
from softjet.jets.substructure import exclusive_subjets
from softjet.part.model import ParticleTransformer
from softjet.progress import Progress

Logits = NDArray[np.float32]


class Condition(NamedTuple):
    """An intervention, and the layer and head that it is made in (ALL for every one)."""

    intervention: str
    layer: int
    head: int = ALL


@dataclass(frozen=True)
class Outcome:
    """Logits (J, C) of an intervention and of its control, NaN for jets without a donor; mass taken (J,)."""

    after: Logits
    control: Logits
    mass: NDArray[np.float32]


@dataclass(frozen=True)
class Outcomes:
    """What a network answered: label (J,), logits (J, C) before, and the outcome of each condition."""

    label: NDArray[np.int64]
    before: Logits
    of: dict[Condition, Outcome]


class Sample(NamedTuple):
    """Jets to intervene on, first of a pool, with their subjets and donors.

    inputs : of the whole pool. label, subjet : of the pool's jets, (pool,) and of their particles end to end.
    donors : place in the pool of a donor of the same class and of one of another, (J,) each; -1 for none.
    """

    inputs: Particles
    label: NDArray[np.int64]
    subjet: NDArray[np.int64]
    donors: dict[str, NDArray[np.int64]]


class Result(NamedTuple):
    """Logits (B, C) of a condition and of its control for a batch, and the mass taken (B,)."""

    condition: Condition
    after: Tensor
    control: Tensor
    mass: Tensor


def sample_of(pool: pa.Table, shape: ParTModel, settings: Interventions) -> Sample:
    """Inputs, subjets and donors of the jets to intervene on.

    Parameters
    ----------
    pool : Table
        `settings.donors` jets by `softjet.attention.sample.draw_sample`, of which the first `settings.jets`
        are intervened on.
    shape : ParTModel
        Of the network.
    settings : Interventions
    """
    inputs = particles(pool, shape.features, shape.max_particles)
    offsets = np.concatenate([[0], np.cumsum(inputs.lengths)])
    subjet = exclusive_subjets(inputs.vectors.astype(np.float64), offsets, settings.subjets)
    label, jets = pool["label"].to_numpy().astype(np.int64), min(settings.jets, len(pool))
    donors = {
        name: find_donors(inputs.lengths, label, jets, same, settings.seed)
        for name, same in (("patch_same", True), ("patch_other", False))
    }
    return Sample(inputs, label, subjet, donors)


def intervene(model: ParticleTransformer, sample: Sample, settings: Interventions) -> Outcomes:
    """Answers of a network to every intervention.

    Interventions, in each particle layer and in all at once: `argmax` cuts each query's edge of the largest
    weight; `between` cuts the edges between kT subjets and `within` those within; `patch_same` and
    `patch_other` take all weights from another jet with equally many particles. `head` silences one head of
    one layer: it gives zero. Controls take the same mass from random edges of the query (for `head`: over
    all heads of the layer, without renormalising; for patches: the jet's own weights on keys in random
    order).

    Parameters
    ----------
    model : ParticleTransformer
    sample : Sample
    settings : Interventions

    Raises
    ------
    ArithmeticError
        A control does not take the mass that it should.
    """
    jets, classes = len(sample.donors["patch_same"]), model.config.classes
    before, of = np.empty((jets, classes), np.float32), dict[Condition, Outcome]()
    generator = torch.Generator().manual_seed(settings.seed)
    order = np.argsort(sample.inputs.lengths[:jets], kind="stable")
    with Progress(jets, "intervene", "jets") as progress, torch.inference_mode():
        for rows in np.split(order, range(settings.batch_size, jets, settings.batch_size)):
            first = forward(model, *_inputs(sample.inputs, rows))
            before[rows] = first.logits.numpy()
            for result in _results(model, first, sample, rows, generator):
                outcome = of.setdefault(result.condition, _empty(jets, classes))
                outcome.after[rows], outcome.control[rows], outcome.mass[rows] = result[1:]
            progress.advance(len(rows))
    return Outcomes(sample.label[:jets], before, of)


def _empty(jets: int, classes: int) -> Outcome:
    return Outcome(*(np.empty(shape, np.float32) for shape in ((jets, classes), (jets, classes), jets)))


def _inputs(jets: Particles, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    features, vectors, mask = map(torch.from_numpy, jets.pad(rows))
    return features, vectors, mask


def _results(
    model: ParticleTransformer,
    first: Pass,
    sample: Sample,
    rows: NDArray[np.int64],
    generator: torch.Generator,
) -> Iterator[Result]:
    """All conditions for a batch."""
    subjet = _subjets(sample, rows, first.real)
    cuts: dict[str, Edges] = {"argmax": argmax_edges}
    cuts |= {name: subjet_edges(subjet, name == "between") for name in ("between", "within")}
    for layer, layers in _scopes(len(model.blocks)):
        for name, edges in cuts.items():
            after, mass = _cut(model, first, Cut(edges, first.real), layers)
            control, _ = _cut(model, first, Cut(edges, first.real, generator), layers)
            yield Result(Condition(name, layer), after, control, mass)
    yield from _heads(model, first, generator)
    yield from _patches(model, first, sample, rows, generator)


def _scopes(layers: int) -> Iterator[tuple[int, Sequence[int]]]:
    """Name and members of what an edit is made in: all layers, and each."""
    yield ALL, range(layers)
    yield from ((layer, [layer]) for layer in range(layers))


def _subjets(sample: Sample, rows: NDArray[np.int64], real: Tensor) -> Tensor:
    """Subjets of a batch's particles, (B, P); -1 at padding."""
    ends = np.cumsum(sample.inputs.lengths)
    pieces = [sample.subjet[ends[row] - sample.inputs.lengths[row] : ends[row]] for row in rows]
    found = torch.full(real.shape, -1)
    return found.masked_scatter(real, torch.from_numpy(np.concatenate(pieces)))


def _cut(model: ParticleTransformer, first: Pass, cut: Cut, layers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Logits under a cut in some layers, and the mean mass that it took."""
    logits = rerun(model, first, dict.fromkeys(layers, cut))
    if cut.mismatch > TOLERANCE:
        raise ArithmeticError(f"random edges carry {cut.mismatch:.1e} more or less than those they stand for")
    return logits, torch.stack(cut.masses).mean(0)


def _heads(model: ParticleTransformer, first: Pass, generator: torch.Generator) -> Iterator[Result]:
    heads = model.config.heads
    mass = torch.full((len(first.real),), 1 / heads)
    for layer in range(len(model.blocks)):
        control = rerun(model, first, {layer: silence_random(generator)})
        for head in range(heads):
            after = rerun(model, first, {layer: silence(head)})
            yield Result(Condition("head", layer, head), after, control, mass)


def _patches(
    model: ParticleTransformer,
    first: Pass,
    sample: Sample,
    rows: NDArray[np.int64],
    generator: torch.Generator,
) -> Iterator[Result]:
    scopes = list(_scopes(len(model.blocks)))
    mixed = shuffle(first.real, generator)
    controls = [rerun(model, first, dict.fromkeys(layers, mixed)) for _, layers in scopes]
    mass = torch.ones(len(rows))
    for name, donors in sample.donors.items():
        found = donors[rows] >= 0
        # A jet without a donor is its own, and its answer is not counted.
        donor = forward(model, *_inputs(sample.inputs, np.where(found, donors[rows], rows)))
        absent = torch.from_numpy(~found)[:, None]
        for (layer, layers), control in zip(scopes, controls, strict=True):
            after = rerun(model, first, {one: _replace(donor.weights[one]) for one in layers})
            yield Result(Condition(name, layer), after.masked_fill(absent, torch.nan), control, mass)


def _replace(weights: Tensor) -> Edit:
    return lambda _: weights
