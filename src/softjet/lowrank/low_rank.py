"""Plain linear layers of low rank, as pairs of factors."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Piece(NamedTuple):
    """Shape of one matrix in a low-rank layer: its outputs, and its rank, or None where it is dense."""

    outputs: int
    rank: int | None

    @property
    def width(self) -> int:
        """Rows it has in the shared first product."""
        return self.outputs if self.rank is None else self.rank


class PackedLinear(nn.Module):
    """A linear layer whose outputs are those of several matrices of the same inputs, one behind the other.

    Parameters
    ----------
    in_features : int
    layout : sequence of Piece
        The matrices in the order of the outputs.
    """

    def __init__(self, in_features: int, layout: Sequence[Piece]) -> None:
        super().__init__()
        self.in_features, self.layout = in_features, [Piece(*piece) for piece in layout]
        self.out_features = sum(piece.outputs for piece in self.layout)

    def extra_repr(self) -> str:
        """Sizes and ranks, for print(model)."""
        ranks = ", ".join("dense" if piece.rank is None else str(piece.rank) for piece in self.layout)
        return f"in_features={self.in_features}, out_features={self.out_features}, ranks=[{ranks}]"


class LowRankLinear(PackedLinear):
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
        super().__init__(in_features, layout)
        self.inner = nn.Parameter(torch.empty(sum(piece.width for piece in self.layout), in_features))
        self.outer = nn.ParameterList(
            torch.empty(piece.outputs, piece.rank) for piece in self.layout if piece.rank is not None
        )
        self.bias = nn.Parameter(torch.empty(self.out_features)) if bias else None

    @property
    def weight(self) -> Tensor:
        """The weight as one matrix, shape (out, in), for code that multiplies with it by itself."""
        outer, parts = iter(self.outer), []
        for piece, rows in zip(self.layout, self.inner.split([p.width for p in self.layout]), strict=True):
            parts.append(rows if piece.rank is None else next(outer) @ rows)
        return torch.cat(parts)

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
