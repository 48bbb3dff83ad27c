"""One matrix as its directions, of which a gate lets some pass."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn import functional

from softjet.config.lowrank import Form
from softjet.lowrank.gates import Gate, NewGate, SoftGate, precise, soft_gate
from softjet.lowrank.measures import Measure

SMALLEST_SCALE = 1e-3
"""Scale of a matrix in units of its largest singular value, where the median is smaller still."""

Train = Literal["all", "spectrum"]
"""What of a matrix is trained: all of U, the singular values and V, or the singular values alone."""

Start = Literal["decomposed", "whole", "blank"]
"""What a matrix is first: its directions; or, since a decomposition takes its time, itself times the unit
matrix, for whoever measures it next, or all zero, for a state that is loaded next."""


def kept_parameters(rank: int, m: int, n: int, form: Form = "pair") -> int:
    """Parameters of an m x n matrix at a rank: a pair has min(r (m + n), m n), a pivot form r (m + n - r)."""
    return rank * (m + n - rank) if form == "pivot" else min(rank * (m + n), m * n)


class Factors(nn.Module):
    """One matrix as U diag(x) V with normalised columns of U and rows of V, and a gate on x.

    The sizes of directions are x = |u| sigma |v| in units of `scale`, their median in the matrix as given: so
    neither its size nor a factor moved from sigma into U or V changes what the gate selects. What |u| and |v|
    are is up to a measure; at first x are the singular values.

    Parameters
    ----------
    weight : Tensor, shape (m, n)
    gate : Gate
        By default a soft threshold.
    train : "all" or "spectrum"
        With "spectrum", U and V are frozen.
    start : Start

    Attributes
    ----------
    form : Form
        What it will be stored as, by which its parameters count: "pair" until told otherwise.
    left, sigma, right : Parameter, shapes (m, k), (k,), (k, n)
        U, sigma and V of all k = min(m, n) directions; once `fixed`, of the kept ones alone.
    scale : Tensor, shape ()
        Median size of a direction of `weight`, in the units of the measure; see `remeasure`.
    measure : Measure
        What the size of a direction is measured by, until ranks are fixed.
    carried : Tensor, shape (k,)
        |u| |v| as measured over the plain lengths of u and v, as of the last decomposition: a measure is too
        dear for every step, and training changes lengths at once and angles slowly.
    fixed : bool
        Ranks are chosen: the gate is out of force, and every direction has its full singular value.
    """

    left: nn.Parameter
    sigma: nn.Parameter
    right: nn.Parameter
    scale: Tensor
    carried: Tensor

    def __init__(
        self, weight: Tensor, gate: Gate | None = None, train: Train = "all", start: Start = "decomposed"
    ) -> None:
        super().__init__()
        self.fixed = False
        self.form: Form = "pair"
        self.measure = Measure()
        make = {"decomposed": self.measure.decompose, "whole": _whole, "blank": _blank}[start]
        self._set(*make(weight))
        for parameter in (self.left, self.right):
            parameter.requires_grad_(train == "all")
        self.register_buffer("scale", _scale(self.sigma.detach()))
        self.gate: Gate = (gate or SoftGate()).to(self.sigma)

    @property
    def shape(self) -> tuple[int, int]:
        """The matrix's (m, n)."""
        return self.left.shape[0], self.right.shape[1]

    def parameters_at(self, rank: int) -> int:
        """Parameters that it is stored in at a rank."""
        return kept_parameters(rank, *self.shape, self.form)

    @property
    def alpha(self) -> nn.Parameter:
        """Threshold of a soft gate."""
        assert isinstance(self.gate, SoftGate)
        return self.gate.alpha

    def spectrum(self) -> Tensor:
        """Sizes of the directions before the gate, in units of `scale`, shape (k,)."""
        return self._norms() * self.sigma / self.scale

    def passed(self) -> Tensor:
        """Sizes behind the gate, in units of `scale`, shape (k,)."""
        x = self.spectrum()
        return x if self.fixed else self.gate(x)

    def weight(self) -> Tensor:
        """The matrix that the layer multiplies with, shape (m, n)."""
        return self.left @ self.scaled_right()

    def scaled_right(self, gated: bool = True) -> Tensor:
        """What `left` is multiplied with, behind the gate or, not `gated`, before it; shape (k, n)."""
        return self._gain(gated)[:, None] * self.right

    def inner(self, x: Tensor) -> Tensor:
        """Multiply with V and what the gate leaves of x; shapes (..., n) -> (..., k)."""
        return functional.linear(x, self.right) * self._gain()

    def _gain(self, gated: bool = True) -> Tensor:
        """Sigma, or what the gate leaves of it: a norm that it has in U or V it has in `passed` too."""
        if self.fixed or not gated:
            return self.sigma.to(self.right.dtype)
        norms = self._norms()
        norms = norms.clamp(min=torch.finfo(norms.dtype).tiny)  # of a matrix of zeros they may be zero
        passed = self.gate(norms * self.sigma / self.scale)
        return (self.scale * passed / norms).to(self.right.dtype)

    def _norms(self) -> Tensor:
        """|u| |v| as measured."""
        return _lengths(self.left, self.right) * self.carried

    @torch.no_grad()
    def selected(self) -> Tensor:
        """Directions that pass, bool, shape (k,)."""
        x = self.spectrum()
        return torch.ones_like(x, dtype=torch.bool) if self.fixed else self.gate.selected(x)

    def rank(self) -> int:
        """Number of directions that pass."""
        return len(self.sigma) if self.fixed else int(self.selected().sum())

    @torch.no_grad()
    def margins(self) -> Tensor:
        """How clearly each direction passes the gate, shape (k,)."""
        return self.gate.margins(self.spectrum())

    @torch.no_grad()
    def order(self) -> Tensor:
        """Directions by falling margin, of equal ones the larger first; indices, shape (k,)."""
        by_size = self.spectrum().argsort(descending=True, stable=True)
        return by_size[self.margins()[by_size].argsort(descending=True, stable=True)]

    @torch.no_grad()
    def drift(self) -> float:
        """Largest cosine between two different columns of U or rows of V; 0 for a true decomposition."""
        left = functional.normalize(self.measure.left(self.left), dim=0)
        right = functional.normalize(self.measure.right(self.right), dim=1)
        grams = torch.stack((left.T @ left, right @ right.T)).abs()
        return float((grams - torch.eye(len(self.sigma), device=grams.device)).max())

    @torch.no_grad()
    def redecompose(self) -> None:
        """Make U and V orthonormal again; the matrix before the gate stays, and the gate and the scale.

        Nothing is done where the gate tells directions apart by anything else than their size: it has learned
        about these directions, and their length means nothing to it.
        """
        if self.gate.by_size:
            self.reset(self.left @ self.scaled_right(gated=False))

    @torch.no_grad()
    def reset(self, weight: Tensor) -> None:
        """Take another matrix of the same shape, shape (m, n), decomposed; the gate and the scale stay."""
        count = len(self.sigma)
        left, sigma, right = self.measure.decompose(weight)
        self._set(left[:, :count], sigma[:count], right[:count])

    @torch.no_grad()
    def reset_product(self, outer: Tensor, inner: Tensor) -> None:
        """Take the product of (m, r) and (r, n), r less than k, decomposed; the other directions are zero.

        Decomposing the product itself would find as much in the time of all k directions.
        """
        left, sigma, right = _decomposed_product(outer, inner)
        missing = len(self.sigma) - len(sigma)
        self._set(
            functional.pad(left, (0, missing)),
            functional.pad(sigma, (0, missing)),
            functional.pad(right, (0, 0, 0, missing)),
        )

    @torch.no_grad()
    def remeasure(self, measure: Measure) -> None:
        """Measure directions otherwise from now on; the matrix before the gate stays, and the gate.

        The scale is that of :func:`unit_of`.
        """
        weight = self.left @ self.scaled_right(gated=False)
        self.measure = measure
        self.reset(weight)
        self.scale.copy_(unit_of(self._norms() * self.sigma))

    @torch.no_grad()
    def rescale(self, sizes: Tensor) -> None:
        """Take the median of these sizes, in the units of the measure, as the scale."""
        self.scale.copy_(_scale(sizes))

    def hold_floor(self, rank: int) -> None:
        """Let at least `rank` directions pass clearly."""
        self.gate.hold_floor(self.spectrum().detach(), rank)

    @torch.no_grad()
    def fix(self, rank: int) -> None:
        """Keep the first `rank` directions of `order` at their full singular value, and drop the others.

        The parameters are new ones of the smaller shape, so an optimiser must be made afresh. A state saved
        later loads into a freshly decomposed model whose matrices were fixed at the same ranks.
        """
        kept = self.order()[:rank].sort().values
        pairs = {"left": self.left[:, kept], "sigma": self.sigma[kept], "right": self.right[kept]}
        for name, value in pairs.items():
            trained = getattr(self, name).requires_grad
            setattr(self, name, nn.Parameter(value.contiguous(), requires_grad=trained))
        self.fixed, self.measure = True, Measure()
        self.register_buffer("carried", torch.ones_like(self.sigma))
        self.gate.freeze()

    @torch.no_grad()
    def _set(self, left: Tensor, sigma: Tensor, right: Tensor) -> None:
        for name, value in (("left", left), ("sigma", sigma), ("right", right)):
            if hasattr(self, name):
                getattr(self, name).copy_(value)
            else:
                setattr(self, name, nn.Parameter(value.contiguous()))
        plain = _lengths(left, right)
        measured = _lengths(self.measure.left(left), self.measure.right(right))
        self.register_buffer("carried", measured / plain.clamp(min=torch.finfo(plain.dtype).tiny))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Factors":
        # A model may go to bfloat16; spectra decide by small differences and stay float32.
        values = {name: getattr(self, name).detach().clone() for name in ("sigma", "scale", "carried")}
        super()._apply(fn, recurse)
        for name, value in values.items():
            moved = getattr(self, name)
            moved.data = value.to(moved.device, precise(moved))
        return self


def ranks_of(factors: Sequence[Factors]) -> list[int]:
    """Ranks of matrices, read at once where a GPU has to be waited for."""
    if all(f.fixed for f in factors):
        return [f.rank() for f in factors]
    return torch.stack([f.selected().sum() for f in factors]).tolist()


def factorised(
    weight: Tensor,
    pieces: int = 1,
    new_gate: NewGate = soft_gate,
    train: Train = "all",
    start: Start = "decomposed",
) -> list[Factors]:
    """Decompose the equally high matrices packed in a weight.

    Parameters
    ----------
    weight : Tensor, shape (m, n)
    pieces : int
        Matrices in it, along m.
    new_gate : callable
        From the number of directions of a matrix to its gate.
    train : "all" or "spectrum"
    start : Start
    """
    parts = weight.detach().chunk(pieces)
    return [Factors(part, new_gate(min(part.shape)), train, start) for part in parts]


def _whole(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    k, own = min(weight.shape), weight.detach().clone()
    unit, ones = torch.eye(k).to(own), own.new_ones(k, dtype=precise(own))
    return (own, ones, unit) if weight.shape[1] == k else (unit, ones, own)


def _blank(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    (m, n), k = weight.shape, min(weight.shape)
    return weight.new_zeros(m, k), weight.new_zeros(k, dtype=precise(weight)), weight.new_zeros(k, n)


def _decomposed_product(outer: Tensor, inner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular value decomposition of the product of (m, r) and (r, n), by those of r by r."""
    (left, above), (right, below) = (torch.linalg.qr(side.to(precise(side))) for side in (outer, inner.T))
    u, sigma, v = torch.linalg.svd(above @ below.T)
    return (left @ u).to(outer.dtype), sigma, (v @ right.T).to(outer.dtype)


def _lengths(left: Tensor, right: Tensor) -> Tensor:
    """Lengths of columns times those of rows, in at least float32."""
    kind = precise(left)
    return vector_norm(left, dim=0, dtype=kind) * vector_norm(right, dim=1, dtype=kind)


def unit_of(sizes: Tensor) -> Tensor:
    """Median of sizes that inputs were seen to give, or half the upper quartile where that is more.

    Inputs may span so few directions that the smaller half is next to nothing, and a threshold in its units
    would have far to go.
    """
    return torch.maximum(_scale(sizes), sizes.quantile(0.75) / 2)


def _scale(sizes: Tensor) -> Tensor:
    scale = sizes.median().clamp(min=SMALLEST_SCALE * sizes.max())
    return torch.where(scale > 0, scale, torch.ones_like(scale))  # of a matrix of zeros any will do
