"""Change the attention of a trained network and see what becomes of its answer.

Edits act on the weights between softmax and values. Taking edges away and dividing by what is left is the
same as a logit of minus infinity for them. What an edit takes from a query is always a mass of attention, so
each has a control that takes the same mass from random edges.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from softjet.part.blocks import Attention
from softjet.part.model import ParticleTransformer

Edit = Callable[[Tensor], Tensor]
"""New weights (B, H, P, P) from old ones."""

Edges = Callable[[Tensor], Tensor]
"""Which edges are cut, bool (B, H, P, P), from the weights."""

TOLERANCE = 1e-4
"""Largest difference between the masses that an edit and its control take from a query."""


@contextmanager
def editing(model: ParticleTransformer, edits: Mapping[int, Edit]) -> Iterator[None]:
    """Particle blocks attend with changed weights, as `edited`.

    Parameters
    ----------
    model : ParticleTransformer
    edits : mapping of int
        Edits by particle layer.
    """
    with edited([(attention_of(model.blocks[layer]), edit) for layer, edit in edits.items()]):
        yield


@contextmanager
def edited(edits: Iterable[tuple[Attention, Edit]]) -> Iterator[None]:
    """Attention modules attend with changed weights; what they did before comes back."""
    edits = list(edits)
    before = [module.edit for module, _ in edits]
    try:
        for module, edit in edits:
            module.edit = edit
        yield
    finally:
        for (module, _), earlier in zip(edits, before, strict=True):
            module.edit = earlier


def attention_of(block: nn.Module) -> Attention:
    """Attention module of a particle or class block."""
    module = block.attention
    assert isinstance(module, Attention)
    return module


@dataclass(frozen=True)
class Pass:
    """A forward pass of B jets that later ones can start from in the middle.

    real : (B, P) bool, particles that are not padding.
    bias : (B, H, P, P), pair bias U.
    states : input of each particle block and what the last one gives, each (B, P, W).
    weights : attention of each particle block, (B, H, P, P).
    logits : (B, C).
    """

    real: Tensor
    bias: Tensor
    states: Sequence[Tensor]
    weights: Sequence[Tensor]
    logits: Tensor


@torch.inference_mode()
def forward(model: ParticleTransformer, features: Tensor, vectors: Tensor, mask: Tensor) -> Pass:
    """Run a network in float32 and keep what interventions need.

    Parameters
    ----------
    model : ParticleTransformer
        In evaluation mode.
    features, vectors, mask : (B, F, P), (B, 4, P) in GeV, (B, 1, P)
        Inputs of the model.
    """
    real = mask[:, 0]
    bias, states = model.pair_bias(vectors, mask), [model.embed(features, real)]
    seen: list[Tensor] = []

    def look(weights: Tensor) -> Tensor:
        seen.append(weights)
        return weights

    with editing(model, dict.fromkeys(range(len(model.blocks)), look)):
        for block in model.blocks:
            states.append(block(states[-1], real, bias))
    return Pass(real, bias, states, seen, _logits(model, states[-1], real))


@torch.inference_mode()
def rerun(model: ParticleTransformer, before: Pass, edits: Mapping[int, Edit]) -> Tensor:
    """Logits (B, C) under edits by particle layer; layers before the first are not run again."""
    first = min(edits, default=len(model.blocks))
    x = before.states[first]
    with editing(model, edits):
        for block in model.blocks[first:]:
            x = block(x, before.real, before.bias)
    return _logits(model, x, before.real)


def _logits(model: ParticleTransformer, x: Tensor, real: Tensor) -> Tensor:
    token = model.class_token.expand(len(x), -1, -1)
    for block in model.class_blocks:
        token = block(token, x, real)
    return model.head(model.norm(token.squeeze(1)))


def argmax_edges(weights: Tensor) -> Tensor:
    """Each query's edge of the largest weight."""
    largest = weights.argmax(-1, keepdim=True)
    return torch.zeros_like(weights, dtype=torch.bool).scatter_(-1, largest, True)


def subjet_edges(subjet: Tensor, between: bool) -> Edges:
    """Edges between subjets, or within them (a particle's edge to itself is within).

    Parameters
    ----------
    subjet : (B, P) int
        Subjet of each particle.
    between : bool
    """
    edges = ((subjet[:, :, None] == subjet[:, None, :]) ^ between)[:, None]
    return edges.expand_as


@dataclass
class Cut:
    """Takes edges away from each query and gives their weight to the others in proportion.

    A query that has no weight on other edges stays as it is.

    Parameters
    ----------
    edges : callable
        Which edges.
    real : (B, P) bool
        Queries that count in `masses`.
    generator : torch.Generator, optional
        Take the same mass from other edges of the query, in random order and the last in part; only where
        they carry less than is to be taken does the rest come from the edges themselves.

    Attributes
    ----------
    masses : list of (B,)
        Mean mass taken from a query and head of each jet, one a call.
    mismatch : float
        Largest difference, over real queries, between the mass taken and that of the edges.
    """

    edges: Edges
    real: Tensor
    generator: torch.Generator | None = None
    masses: list[Tensor] = field(default_factory=list)
    mismatch: float = 0.0

    def __call__(self, weights: Tensor) -> Tensor:
        """New weights."""
        edges = self.edges(weights)
        lost = weights.where(edges, 0)
        lost = lost.where((weights - lost).sum(-1, keepdim=True) > 0, 0)
        wanted = lost.sum(-1)
        if self.generator is not None:
            lost = same_mass(weights, wanted, edges, self.generator)
        taken = lost.sum(-1)
        queries = self.real[:, None, :]
        self.mismatch = max(self.mismatch, float((taken - wanted).abs().where(queries, 0).max()))
        self.masses.append(taken.mean(1).where(self.real, 0).sum(1) / self.real.sum(1))
        kept = (weights - lost).clamp_min(0)
        left = kept.sum(-1, keepdim=True)
        return torch.where(left > 0, kept / left, weights)


def same_mass(weights: Tensor, mass: Tensor, last: Tensor, generator: torch.Generator) -> Tensor:
    """Weight to take from random edges of each query so that it adds up to a given mass.

    Parameters
    ----------
    weights : (..., S)
        Of each query; not negative.
    mass : (...)
        What to take of each query, at most its sum.
    last : (..., S) bool
        Edges that are touched only when the others are used up.
    generator : torch.Generator

    Returns
    -------
    (..., S)
        At most `weights`.
    """
    place = torch.rand(weights.shape, generator=generator, device=weights.device)
    order = _order(place + last)
    sizes = weights.gather(-1, order)
    taken = (mass[..., None] - (sizes.cumsum(-1) - sizes)).clamp_min(0).minimum(sizes)
    return torch.zeros_like(weights).scatter_(-1, order, taken)


def _order(places: Tensor) -> Tensor:
    """Indices that sort the last axis; numpy's sort of short rows is several times as fast as PyTorch's."""
    if places.device.type != "cpu":
        return places.argsort(-1)
    return torch.from_numpy(np.argsort(places.numpy(), axis=-1))


def silence(head: int) -> Edit:
    """One head gives zero; the other heads stay as they are."""

    def edit(weights: Tensor) -> Tensor:
        edited = weights.clone()
        edited[:, head] = 0
        return edited

    return edit


def silence_random(generator: torch.Generator) -> Edit:
    """Take from each query, at random over the edges of all heads, the mass of one head: 1."""

    def edit(weights: Tensor) -> Tensor:
        if weights.shape[1] == 1:  # all there is, but for rounding, which would pass for an effect
            return torch.zeros_like(weights)
        joined = weights.transpose(1, 2).flatten(2)
        none = torch.zeros_like(joined, dtype=torch.bool)
        lost = same_mass(joined, joined.new_ones(joined.shape[:2]), none, generator)
        return weights - lost.unflatten(2, (weights.shape[1], -1)).transpose(1, 2)

    return edit


def shuffle(real: Tensor, generator: torch.Generator) -> Edit:
    """Give each query's weights to its keys in random order; `real` (B, P), padding behind the particles."""

    def edit(weights: Tensor) -> Tensor:
        place = torch.rand(weights.shape, generator=generator, device=weights.device)
        return weights.gather(-1, _order(place + ~real[:, None, None, :]))

    return edit


def find_donors(
    n: NDArray[np.integer], label: NDArray[np.integer], jets: int, same: bool, seed: int
) -> NDArray[np.int64]:
    """For each of the first jets of a pool another jet with equally many particles.

    Parameters
    ----------
    n, label : (pool,)
        Particles and class of each jet of the pool.
    jets : int
        How many of the pool want a donor.
    same : bool
        From the same class, or from another one.
    seed : int
        Of the choice among several.

    Returns
    -------
    (jets,)
        Place of the donor in the pool; -1 where there is none.
    """
    generator = np.random.default_rng([seed, same])
    found = np.full(jets, -1)
    for jet in range(jets):
        fits = (n == n[jet]) & ((label == label[jet]) == same)
        fits[jet] = False
        if fits.any():
            found[jet] = generator.choice(np.flatnonzero(fits))
    return found
