"""Linear layers whose rank is learned, and the plain low-rank layers that they become."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn import functional

from softjet.lowrank.threshold import soft_threshold

SMALLEST_SCALE = 1e-3
"""Scale of a matrix in units of its largest singular value, where the median is smaller still."""

MARGIN = 0.01
"""Relative distance of a threshold below the value that it must not pass; bfloat16 resolves 0.004."""


def kept_parameters(rank: int, m: int, n: int) -> int:
    """Parameters of an m x n matrix at a rank: the pair's r (m + n), at most the dense m n."""
    return min(rank * (m + n), m * n)


class Factors(nn.Module):
    """One matrix as U diag(x) V with normalised columns of U and rows of V, and a threshold on x.

    The singular values are x = |u| sigma |v| in units of `scale`, the median singular value of the matrix as
    given: so neither its size nor a factor moved from sigma into U or V changes what the threshold selects.

    Parameters
    ----------
    weight : Tensor, shape (m, n)
    sharpness : float
        s of the soft threshold.

    Attributes
    ----------
    left, sigma, right : Parameter, shapes (m, k), (k,), (k, n)
        U, sigma and V of all k = min(m, n) directions.
    alpha : Parameter, shape ()
        The threshold in units of `scale`; starts at 0.
    scale : Tensor, shape ()
        Median singular value of `weight`, in its units.
    keep : Tensor, bool, shape (k,)
        Directions kept; in force once `fixed`.
    fixed : bool
        Ranks are chosen: a kept direction has its full singular value, the others none.
    """

    left: nn.Parameter
    sigma: nn.Parameter
    right: nn.Parameter
    scale: Tensor
    keep: Tensor

    def __init__(self, weight: Tensor, sharpness: float = 50.0) -> None:
        super().__init__()
        self.sharpness, self.fixed = sharpness, False
        self._set(weight)
        largest = self.sigma.detach().max()
        self.register_buffer("scale", self.sigma.detach().median().clamp(min=SMALLEST_SCALE * largest))
        self.register_buffer("keep", torch.ones_like(self.sigma, dtype=torch.bool))
        self.alpha = nn.Parameter(torch.zeros_like(self.scale))

    @property
    def shape(self) -> tuple[int, int]:
        """The matrix's (m, n)."""
        return self.left.shape[0], self.right.shape[1]

    def spectrum(self) -> Tensor:
        """Singular values before the threshold, in units of `scale`, shape (k,)."""
        return self._norms() * self.sigma / self.scale

    def passed(self) -> Tensor:
        """Singular values behind the threshold or the keep mask, in units of `scale`, shape (k,)."""
        x = self.spectrum()
        return x * self.keep if self.fixed else soft_threshold(x, self.alpha, self.sharpness)

    def weight(self) -> Tensor:
        """The matrix that the layer multiplies with, shape (m, n)."""
        return self.left @ self.scaled_right(self.passed())

    def scaled_right(self, x: Tensor) -> Tensor:
        """Diag(x) V over the norms of U and V, so that `left` times it is the matrix; shape (k, n)."""
        return (self.scale * x / self._norms()).to(self.right.dtype)[:, None] * self.right

    def _norms(self) -> Tensor:
        precise = self.sigma.dtype
        return vector_norm(self.left, dim=0, dtype=precise) * vector_norm(self.right, dim=1, dtype=precise)

    @torch.no_grad()
    def selected(self) -> Tensor:
        """Directions that pass, bool, shape (k,)."""
        return self.keep if self.fixed else self.spectrum() > self.alpha

    def rank(self) -> int:
        """Number of directions that pass."""
        return int(self.selected().sum())

    @torch.no_grad()
    def drift(self) -> float:
        """Largest cosine between two different columns of U or rows of V; 0 for a true decomposition."""
        left, right = functional.normalize(self.left, dim=0), functional.normalize(self.right, dim=1)
        grams = torch.stack((left.T @ left, right @ right.T)).abs()
        return float((grams - torch.eye(len(self.sigma), device=grams.device)).max())

    @torch.no_grad()
    def redecompose(self) -> None:
        """Make U and V orthonormal again; the matrix before the threshold stays, and alpha and scale."""
        self._set(self.left @ self.scaled_right(self.spectrum()))

    @torch.no_grad()
    def hold_floor(self, rank: int) -> None:
        """Lower the threshold, where needed, until at least `rank` directions lie clearly above it."""
        kth = self.spectrum().topk(min(rank, len(self.sigma))).values[-1]
        self.alpha.clamp_(min=0.0).clamp_(max=(1 - MARGIN) * kth)

    @torch.no_grad()
    def fix(self, rank: int) -> None:
        """Keep the `rank` largest directions at their full singular value, and freeze the threshold."""
        self.keep.zero_()
        self.keep[self.spectrum().topk(rank).indices] = True
        self.freeze()

    def freeze(self) -> None:
        """Put the keep mask in force in place of the threshold, which no optimiser moves any more."""
        self.fixed = True
        self.alpha.requires_grad_(False)
        self.alpha.grad = None

    @torch.no_grad()
    def _set(self, weight: Tensor) -> None:
        left, sigma, right = torch.linalg.svd(weight.detach().to(_precise(weight)), full_matrices=False)
        dense = weight.dtype
        for name, value in (("left", left.to(dense)), ("sigma", sigma), ("right", right.to(dense))):
            if hasattr(self, name):
                getattr(self, name).copy_(value)
            else:
                setattr(self, name, nn.Parameter(value.contiguous()))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Factors":
        # A model may go to bfloat16; thresholds and spectra decide by small differences and stay float32.
        precise = {name: getattr(self, name).detach().clone() for name in ("sigma", "alpha", "scale")}
        super()._apply(fn, recurse)
        for name, value in precise.items():
            moved = getattr(self, name)
            moved.data = value.to(moved.device, _precise(moved))
        return self


def _precise(tensor: Tensor) -> torch.dtype:
    """The tensor's type, but at least float32."""
    return torch.promote_types(tensor.dtype, torch.float32)


class SoftThresholdLinear(nn.Module):
    """A linear layer whose rank is learned by a soft threshold on its singular values.

    Each of the matrices packed in it along the outputs has its own singular values, threshold and rank. The
    weight is composed once a call and multiplied with in one product: the same function as
    U (S(sigma) * (V x)) + b, and less work where the examples of a step outnumber the rank.

    Parameters
    ----------
    linear : nn.Linear
        The layer it starts from, at full rank.
    pieces : int
        Equally high matrices packed in it.
    sharpness : float
        s of the soft threshold.
    """

    def __init__(self, linear: nn.Linear, pieces: int = 1, sharpness: float = 50.0) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        parts = linear.weight.detach().chunk(pieces)
        self.pieces = nn.ModuleList(Factors(part, sharpness) for part in parts)
        self.bias = linear.bias

    def factors(self) -> list[Factors]:
        """Its matrices, in the order of the outputs."""
        return [piece for piece in self.pieces if isinstance(piece, Factors)]

    def weight(self) -> Tensor:
        """The weight that it multiplies with, shape (out, in)."""
        return torch.cat([piece.weight() for piece in self.factors()])

    def forward(self, x: Tensor) -> Tensor:
        """Multiply; shapes (..., in) -> (..., out)."""
        return functional.linear(x, self.weight(), self.bias)


class Piece(NamedTuple):
    """Shape of one matrix in a low-rank layer: its outputs, and its rank, or None where it is dense."""

    outputs: int
    rank: int | None

    @property
    def width(self) -> int:
        """Rows it has in the shared first product."""
        return self.outputs if self.rank is None else self.rank


class LowRankLinear(nn.Module):
    """A linear layer as two smaller ones, with one first product shared by all matrices packed in it.

    The first product gives every low-rank piece its r inner values and every dense piece its outputs; the
    second turns inner values into outputs, piece by piece.

    Parameters
    ----------
    in_features : int
    layout : sequence of Piece
        The matrices in the order of the outputs.
    bias : bool
        With an offset.
    """

    def __init__(self, in_features: int, layout: Sequence[Piece], bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.layout = in_features, [Piece(*piece) for piece in layout]
        self.out_features = sum(piece.outputs for piece in self.layout)
        self.inner = nn.Parameter(torch.empty(sum(piece.width for piece in self.layout), in_features))
        self.outer = nn.ParameterList(
            torch.empty(piece.outputs, piece.rank) for piece in self.layout if piece.rank is not None
        )
        self.bias = nn.Parameter(torch.empty(self.out_features)) if bias else None

    def extra_repr(self) -> str:
        """Sizes and ranks, for print(model)."""
        ranks = ", ".join("dense" if piece.rank is None else str(piece.rank) for piece in self.layout)
        return f"in_features={self.in_features}, out_features={self.out_features}, ranks=[{ranks}]"

    def weights(self) -> int:
        """Parameters without the offset."""
        return self.inner.numel() + sum(outer.numel() for outer in self.outer)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply; shapes (..., in) -> (..., out)."""
        inner = functional.linear(x, self.inner).split([piece.width for piece in self.layout], dim=-1)
        outer = iter(self.outer)
        biases = (
            self.bias.split([p.outputs for p in self.layout])
            if self.bias is not None
            else [None] * len(inner)
        )
        outputs = []
        for piece, value, bias in zip(self.layout, inner, biases, strict=True):
            if piece.rank is not None:
                outputs.append(functional.linear(value, next(outer), bias))
            else:
                outputs.append(value if bias is None else value + bias)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)


def linear_weights(layer: nn.Module) -> int:
    """Parameters of a linear layer without its offset: dense, fused, or learning (as if fused)."""
    if isinstance(layer, SoftThresholdLinear):
        return sum(kept_parameters(f.rank(), *f.shape) for f in layer.factors())
    if isinstance(layer, LowRankLinear):
        return layer.weights()
    assert isinstance(layer, nn.Linear)
    return layer.weight.numel()
