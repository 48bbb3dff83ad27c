"""Parameters before and after, and the choice of ranks that meets a budget."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from torch import Tensor, nn

from softjet.config.lowrank import Form, Selection
from softjet.errors import InputError
from softjet.lowrank.factors import Factors, ranks_of
from softjet.lowrank.layer import SOFT, linear_weights
from softjet.lowrank.price import PARAMETERS, Parameters, Price, total_price
from softjet.lowrank.selection import all_factors, block_modules, find_layers

ROUNDING = 1e-9
"""Share by which a sum of times may pass a budget of time: sums in another order round otherwise."""


class Counts(NamedTuple):
    """Parameters of a model: of its selected matrices (no offsets), its blocks, and in total."""

    linears: int
    blocks: int
    total: int

    def over(self, dense: "Counts") -> "Shares":
        """Ratio to the counts of the dense model."""
        return Shares(*(mine / its for mine, its in zip(self, dense, strict=True)))


class Shares(NamedTuple):
    """Kept shares of the selected matrices, of the blocks and of the whole model."""

    linears: float
    blocks: float
    total: float


def parameter_counts(model: nn.Module, selection: Selection, embeddings: bool = False) -> Counts:
    """Count the parameters of a dense, learning or fused model; what layers share counts once.

    A learning layer counts as what it would be fused to at its present ranks: min(r (m + n), m n) a matrix,
    in pivot form r (m + n - r).

    Parameters
    ----------
    model : nn.Module
    selection : Selection
        Which layers are compressed and which modules are blocks.
    embeddings : bool
        The embedding tables of the selection are compressed too.
    """
    return Tally.of(model, selection, embeddings).counts()


@dataclass(frozen=True)
class Tally:
    """What the parameter counts of a model depend on, found once: they are asked for after every step.

    Attributes
    ----------
    others : Counts
        Parameters that no rank changes, of the selected matrices, the blocks and in total.
    factors : three sequences of Factors
        Learning matrices of each.
    """

    others: Counts
    factors: tuple[Sequence[Factors], Sequence[Factors], Sequence[Factors]]

    @classmethod
    def of(cls, model: nn.Module, selection: Selection, embeddings: bool = False) -> "Tally":
        """Take stock of a model; arguments as of :func:`parameter_counts`."""
        layers = [model.get_submodule(place.path) for place in find_layers(model, selection, embeddings)]
        learning = [layer for layer in layers if isinstance(layer, SOFT)]
        blocks = list(block_modules(model, selection))
        others = Counts(
            sum(linear_weights(layer) for layer in layers if not isinstance(layer, SOFT)),
            sum(map(_others, blocks)),
            _others(model),
        )
        in_layers = [f for layer in learning for f in layer.factors()]
        in_blocks = [f for block in blocks for f in all_factors(block)]
        return cls(others, (in_layers, in_blocks, all_factors(model)))

    def counts(self) -> Counts:
        """Parameters at the present ranks."""
        every = self.factors[-1]
        kept = {f: f.parameters_at(rank) for f, rank in zip(every, ranks_of(every), strict=True)}
        pairs = zip(self.others, self.factors, strict=True)
        return Counts(*(others + sum(kept[f] for f in factors) for others, factors in pairs))


def _others(model: nn.Module) -> int:
    """Distinct parameters that do not belong to learning matrices."""
    factored = sum(p.numel() for f in all_factors(model) for p in f.parameters())
    return sum(p.numel() for p in model.parameters()) - factored


def weights_allowed(dense: Counts, keep: float, of: Literal["linears", "blocks", "total"]) -> int:
    """Parameters that the selected matrices may have so that `keep` of the linears, blocks or total stay."""
    whole = getattr(dense, of)
    return math.floor(keep * whole) - (whole - dense.linears)


@dataclass(frozen=True)
class Step:
    """One matrix from one possible rank to the next: its cost, and how far it passes the threshold."""

    margin: float
    matrix: int
    place: int
    rank: int
    cost: float


def possible_ranks(
    m: int, n: int, multiple: int, floor: int, price: Price = PARAMETERS, form: Form = "pair"
) -> list[int]:
    """Ranks that a matrix may have: multiples from the floor for as long as its form pays, then dense.

    From where it does not, of a pair by its parameters r (m + n) >= m n, the matrix is kept dense, with all
    min(m, n) directions.
    """
    lowest = multiple * math.ceil(floor / multiple)
    return [*range(lowest, price.dense_from(m, n, form), multiple), min(m, n)]


def least_price(factors: Sequence[Factors], multiple: int, floor: int, price: Price = PARAMETERS) -> float:
    """Cost of matrices that all have the least rank they may have; arguments as of :func:`choose_ranks`."""
    least = [possible_ranks(*f.shape, multiple, floor, price, f.form)[0] for f in factors]
    return total_price(factors, least, price)


def choose_ranks(
    factors: Sequence[Factors],
    allowed: float,
    multiple: int = 1,
    floor: int = 8,
    margins: Callable[[Factors], Tensor] = Factors.margins,
    price: Price = PARAMETERS,
) -> list[int]:
    """Choose the rank of every matrix, as near below the budget as ranks allow.

    All matrices start from the floor; then directions are admitted by falling margin. With the margin of a
    soft threshold, the height x - alpha over it, the outcome is that of moving all learned thresholds by one
    common amount. A step that would pass the budget is left out and its matrix stays there; smaller ones
    may still follow. What stays unused is therefore less than the cheapest step left out. Ranks rise by
    `multiple`, a step taken by its middle direction, which rounds to the nearest; the last step of a matrix
    makes it dense.

    Parameters
    ----------
    factors : sequence of Factors
    allowed : float
        What the matrices may cost together; of times a rounding more.
    multiple, floor : int
    margins : callable
        From a matrix to the margins of its directions, shape (k,), in any order; by default those of
        its gate.
    price : Price
        What a matrix costs at a rank; by default its parameters.

    Returns
    -------
    list of int
        min(m, n) for a matrix that is kept dense.

    Raises
    ------
    InputError
        The budget does not hold the floor ranks.
    """
    possible = [possible_ranks(*f.shape, multiple, floor, price, f.form) for f in factors]
    ranks, least = [own[0] for own in possible], least_price(factors, multiple, floor, price)
    # Parameters are whole numbers, and exact.
    left = allowed - least + (0 if isinstance(price, Parameters) else ROUNDING * allowed)
    if left < 0:
        problem = f"even at rank {floor} the matrices cost {least:.0f}, {max(allowed, 0):.0f} are allowed"
        raise InputError("rank learning", "keep", f"{problem}; raise keep or lower rank_floor")
    steps = [
        step for i, (f, own) in enumerate(zip(factors, possible, strict=True))
        for step in _steps(i, f, margins(f), own, price)
    ]  # fmt: skip
    stopped: set[int] = set()
    for step in sorted(steps, key=lambda s: (-s.margin, s.matrix, s.place)):
        if step.matrix in stopped or step.cost > left:
            stopped.add(step.matrix)
        else:
            ranks[step.matrix], left = step.rank, left - step.cost
    return ranks


def _steps(
    matrix: int, factors: Factors, margins: Tensor, possible: Sequence[int], price: Price
) -> Iterator[Step]:
    kind = (*factors.shape, factors.form)
    falling, dense_from = margins.sort(descending=True).values.tolist(), price.dense_from(*kind)
    for place, (low, high) in enumerate(pairwise(possible)):
        paid = min(high, dense_from)
        cost = price(high, *kind) - price(low, *kind)
        yield Step(falling[(low + paid - 1) // 2], matrix, place, high, cost)
