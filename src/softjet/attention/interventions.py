"""Every intervention on the attention of a network, in each layer and head, on a sample of jets."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
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
    forward,
    rerun,
    shuffle,
    silence,
    silence_random,
    subjet_edges,
)
from softjet.attention.intervention_sample import Sample, padded
from softjet.attention.statistics import ALL
from softjet.config.interventions import Interventions
from softjet.part.model import ParticleTransformer
from softjet.progress import Progress

Logits = NDArray[np.float32]
Results = Callable[..., Iterator["Result"]]
"""Conditions of a batch, from a model, its first pass, the sample, rows of it and a generator."""


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


class Result(NamedTuple):
    """Logits (B, C) of a condition and of its control for a batch, and the mass taken (B,)."""

    condition: Condition
    after: Tensor
    control: Tensor
    mass: Tensor


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
    return _outcomes(model, sample, settings, _results)


def cut_everywhere(model: ParticleTransformer, sample: Sample, settings: Interventions) -> Outcomes:
    """Answers to the cuts of each query's largest edge and of the edges between subjets, in all layers.

    For what needs many jets, as a rejection does.

    Parameters
    ----------
    model, sample, settings
        As of `intervene`; the sample needs no donors.

    Raises
    ------
    ArithmeticError
        As of `intervene`.
    """
    return _outcomes(model, sample, settings, _everywhere)


def _outcomes(
    model: ParticleTransformer, sample: Sample, settings: Interventions, results: Results
) -> Outcomes:
    jets, classes = sample.jets, model.config.classes
    before, of = np.empty((jets, classes), np.float32), dict[Condition, Outcome]()
    generator = torch.Generator().manual_seed(settings.seed)
    order = np.argsort(sample.inputs.lengths[:jets], kind="stable")
    with Progress(jets, "intervene", "jets") as progress, torch.inference_mode():
        for rows in np.split(order, range(settings.batch_size, jets, settings.batch_size)):
            first = forward(model, *padded(sample.inputs, rows))
            before[rows] = first.logits.numpy()
            for result in results(model, first, sample, rows, generator):
                outcome = of.setdefault(result.condition, _empty(jets, classes))
                outcome.after[rows], outcome.control[rows], outcome.mass[rows] = result[1:]
            progress.advance(len(rows))
    return Outcomes(sample.label[:jets], before, of)


def _empty(jets: int, classes: int) -> Outcome:
    return Outcome(*(np.empty(shape, np.float32) for shape in ((jets, classes), (jets, classes), jets)))


def _results(
    model: ParticleTransformer,
    first: Pass,
    sample: Sample,
    rows: NDArray[np.int64],
    generator: torch.Generator,
) -> Iterator[Result]:
    """All conditions for a batch."""
    cuts = _cuts(sample, first, rows)
    for layer, layers in _scopes(len(model.blocks)):
        for name, edges in cuts.items():
            yield _cut_result(model, first, Condition(name, layer), edges, layers, generator)
    yield from _heads(model, first, generator)
    yield from _patches(model, first, sample, rows, generator)


def _everywhere(
    model: ParticleTransformer,
    first: Pass,
    sample: Sample,
    rows: NDArray[np.int64],
    generator: torch.Generator,
) -> Iterator[Result]:
    cuts = _cuts(sample, first, rows)
    for name in ("argmax", "between"):
        layers = range(len(model.blocks))
        yield _cut_result(model, first, Condition(name, ALL), cuts[name], layers, generator)


def _cuts(sample: Sample, first: Pass, rows: NDArray[np.int64]) -> dict[str, Edges]:
    subjet = sample.subjets(rows, first.real)
    cuts: dict[str, Edges] = {"argmax": argmax_edges}
    return cuts | {name: subjet_edges(subjet, name == "between") for name in ("between", "within")}


def _scopes(layers: int) -> Iterator[tuple[int, Sequence[int]]]:
    """Name and members of what an edit is made in: all layers, and each."""
    yield ALL, range(layers)
    yield from ((layer, [layer]) for layer in range(layers))


def _cut_result(
    model: ParticleTransformer,
    first: Pass,
    condition: Condition,
    edges: Edges,
    layers: Sequence[int],
    generator: torch.Generator,
) -> Result:
    """A cut in some layers, and random edges of the same mass."""
    after, mass = _cut(model, first, Cut(edges, first.real), layers)
    control, _ = _cut(model, first, Cut(edges, first.real, generator), layers)
    return Result(condition, after, control, mass)


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
        donor = forward(model, *padded(sample.inputs, np.where(found, donors[rows], rows)))
        absent = torch.from_numpy(~found)[:, None]
        for (layer, layers), control in zip(scopes, controls, strict=True):
            after = rerun(model, first, {one: _replace(donor.weights[one]) for one in layers})
            yield Result(Condition(name, layer), after.masked_fill(absent, torch.nan), control, mass)


def _replace(weights: Tensor) -> Edit:
    return lambda _: weights
