"""Plain linear layers of low rank in pivot form."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import scipy.linalg
import torch
from torch import Tensor, nn
from torch.nn import functional

from softjet.lowrank.low_rank import LowRankLinear, PackedLinear, Piece


class Pivots(NamedTuple):
    """An m x n matrix of rank r as r of its columns, and what the others are of them.

    Attributes
    ----------
    outer : Tensor, shape (m, r)
        The columns.
    inner : Tensor, shape (r, n - r)
        Each other column as a combination of these.
    order : Tensor of int64, shape (n,)
        Places of the columns, then those of the others.
    """

    outer: Tensor
    inner: Tensor
    order: Tensor


def pivots(left: Tensor, right: Tensor) -> Pivots:
    """Find the pivot form of a product, exact but for rounding.

    A pair of factors says r^2 numbers too many: any invertible matrix may stand between the two. Here it is
    chosen so that r columns of the second factor are those of the unit matrix, which need not be stored. QR
    with column pivoting chooses columns of which the others are combinations with small coefficients.

    Parameters
    ----------
    left, right : Tensor, shapes (m, r), (r, n)
        r at most n.

    References
    ----------
    Interpolative decomposition: Cheng, Gimbutas, Martinsson, Rokhlin, SIAM J. Sci. Comput. 26, 1389 (2005).
    As a layer, with rows in place of columns: PIFA, arXiv 2501.19090.
    """
    rank = len(right)
    basis = torch.linalg.qr(right.T.double())[0].T
    upper, order = scipy.linalg.qr(basis.cpu().numpy(), mode="r", pivoting=True, check_finite=False)
    inner = scipy.linalg.solve_triangular(upper[:, :rank], upper[:, rank:], check_finite=False)
    places = torch.from_numpy(order).long().to(right.device)
    return Pivots(left @ right[:, places[:rank]], torch.from_numpy(inner).to(right).contiguous(), places)


class PivotLinear(PackedLinear):
    """A linear layer whose low-rank matrices are stored in pivot form.

    With C the pivot columns, x_p their inputs, x_o the other ones and T what the other columns are of them,
    W x is C (x_p + T x_o): r (m + n - r) parameters and multiplications, where a pair has r (m + n).

    Parameters
    ----------
    in_features : int
    layout : sequence of Piece
        The matrices in the order of the outputs.
    bias : bool
        With an offset.
    """

    order: Tensor

    def __init__(self, in_features: int, layout: Sequence[Piece], bias: bool = True) -> None:
        super().__init__(in_features, layout)
        ranks = [piece.rank for piece in self.layout if piece.rank is not None]
        self.inner = nn.ParameterList(torch.empty(rank, in_features - rank) for rank in ranks)
        self.outer = nn.ParameterList(
            torch.empty(piece.outputs, in_features if piece.rank is None else piece.rank)
            for piece in self.layout
        )
        self.register_buffer("order", torch.arange(in_features).repeat(len(ranks), 1))
        self.bias = nn.Parameter(torch.empty(self.out_features)) if bias else None

    def _parts(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
        """Columns of each matrix, and where it is of low rank what the others are of them, and the order."""
        low = zip(self.inner, self.order, strict=True)
        for piece, outer in zip(self.layout, self.outer, strict=True):
            yield outer, *((None, None) if piece.rank is None else next(low))

    def _first(self) -> list[Tensor]:
        """What each matrix of a pair multiplies the inputs with first: of a dense one its weight."""
        rows = []
        for outer, inner, order in self._parts():
            if inner is None or order is None:
                rows.append(outer)
            else:
                unit = torch.eye(len(inner)).to(inner)
                rows.append(torch.cat((unit, inner), dim=1)[:, order.argsort()])
        return rows

    @torch.no_grad()
    def as_pair(self) -> LowRankLinear:
        """The same function as a layer of pairs of factors, which hold the columns of the unit matrix too."""
        with torch.device("meta"):
            pair = LowRankLinear(self.in_features, self.layout, self.bias is not None)
        pair.inner, pair.bias = nn.Parameter(torch.cat(self._first())), self.bias
        low = zip(self.outer, self.layout, strict=True)
        pair.outer = nn.ParameterList(outer for outer, piece in low if piece.rank is not None)
        return pair

    @property
    def weight(self) -> Tensor:
        """The weight as one matrix, shape (out, in), for code that multiplies with it by itself."""
        parts = zip(self.layout, self.outer, self._first(), strict=True)
        return torch.cat([rows if piece.rank is None else outer @ rows for piece, outer, rows in parts])

    def weights(self) -> int:
        """Parameters without the offset."""
        return sum(p.numel() for p in (*self.inner, *self.outer))

    def in_order(self) -> bool:
        """Whether each order names every input once, as one that was read from a file may not."""
        places = torch.arange(self.in_features, device=self.order.device)
        return bool((self.order.sort(dim=-1).values == places).all())

    def forward(self, x: Tensor) -> Tensor:
        """Multiply; shapes (..., in) -> (..., out)."""
        rows, parts = x.reshape(-1, self.in_features), list(self._parts())
        outputs = [
            functional.linear(rows if inner is None or order is None else _inner(rows, inner, order), outer)
            for outer, inner, order in parts
        ]
        y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        return (y if self.bias is None else y + self.bias).reshape(*x.shape[:-1], self.out_features)


def _inner(rows: Tensor, inner: Tensor, order: Tensor) -> Tensor:
    """What the pivot columns are multiplied with; shapes (rows, n) -> (rows, r)."""
    # In bfloat16 on a processor index_select takes several times as long as gather, in float32 less.
    wide = rows.element_size() >= 4 or rows.is_cuda
    arranged = rows.index_select(1, order) if wide else rows.gather(1, order.expand(len(rows), -1))
    rank = len(inner)
    return torch.addmm(arranged[:, :rank], arranged[:, rank:], inner.T)
