"""What the size of a direction is measured by: the matrix alone, or what inputs make of it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

from softjet.lowrank.gates import precise


class Decomposition(NamedTuple):
    """U[m, k], sigma[k] and V[k, n] with U diag(sigma) V the matrix; unit columns of U and rows of V."""

    left: Tensor
    sigma: Tensor
    right: Tensor


class Measure(nn.Module):
    """The matrix alone: a direction's size is its singular value."""

    def left(self, left: Tensor) -> Tensor:
        """Columns whose lengths and angles count, shape (m, k), in at least float32."""
        return left.to(precise(left))

    def right(self, right: Tensor) -> Tensor:
        """Rows whose lengths and angles count, shape (k, n), in at least float32."""
        return right.to(precise(right))

    @torch.no_grad()
    def decompose(self, weight: Tensor) -> Decomposition:
        """Directions of a matrix, by falling size; shape (m, n)."""
        left, sigma, right = torch.linalg.svd(weight.detach().to(precise(weight)), full_matrices=False)
        return Decomposition(left.to(weight.dtype), sigma, right.to(weight.dtype))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Measure":
        # A model may go to bfloat16; sizes decide by small differences and stay float32.
        values = {name: buffer.detach().clone() for name, buffer in self.named_buffers()}
        super()._apply(fn, recurse)
        for name, value in values.items():
            moved = self.get_buffer(name)
            setattr(self, name, value.to(moved.device, precise(moved)))
        return self


class InputMeasure(Measure):
    """What a direction carries to the outputs, over the inputs seen.

    Directions are those of W S, where S S^T is the matrix of the inputs' second moments: dropping some
    changes the outputs on these inputs by the root of the sum of their squares, and no other choice of as
    many directions changes them less (SVD-LLM, arXiv 2403.07378).

    Parameters
    ----------
    root : Tensor, shape (n, n)
        S, lower triangular.
    """

    root: Tensor

    def __init__(self, root: Tensor) -> None:
        super().__init__()
        self.register_buffer("root", root)

    def right(self, right: Tensor) -> Tensor:
        """V S."""
        with torch.autocast(right.device.type, enabled=False):
            return right.to(self.root.dtype) @ self.root

    @torch.no_grad()
    def decompose(self, weight: Tensor) -> Decomposition:
        """Directions of W S, those of V by U^T W, which needs no inverse of S; shape (m, n)."""
        exact = weight.detach().to(self.root.dtype)
        left = torch.linalg.svd(exact @ self.root, full_matrices=False).U
        return _unit(weight, left, left.T @ exact)


class LossMeasure(InputMeasure):
    """What a direction carries to the loss, over the rows seen: root of twice what it costs to drop it.

    Directions are those of L^T W S, where S S^T is the matrix of the inputs' second moments and L L^T that of
    the loss's gradients by the outputs, both together times the number of rows: to second order, with the
    Fisher information of the weights as the Kronecker product of the two, dropping some raises the loss by
    half the sum of their squares: if it is a sum over examples, and for a mean but for one factor, the same
    for all matrices. So sizes of one matrix compare with those of another. (GFWSVD, arXiv
    2505.17974; the Kronecker factors as in K-FAC, arXiv 1503.05671.)

    Parameters
    ----------
    above : Tensor, shape (m, m)
        L, lower triangular.
    root : Tensor, shape (n, n)
        S, lower triangular.
    """

    above: Tensor

    def __init__(self, above: Tensor, root: Tensor) -> None:
        super().__init__(root)
        self.register_buffer("above", above)

    def left(self, left: Tensor) -> Tensor:
        """L^T U."""
        with torch.autocast(left.device.type, enabled=False):
            return self.above.T @ left.to(self.above.dtype)

    @torch.no_grad()
    def decompose(self, weight: Tensor) -> Decomposition:
        """Directions of L^T W S, those of U by L and those of V by L^T W, without S; shape (m, n)."""
        exact = weight.detach().to(self.root.dtype)
        above = self.above.T / self.above.diagonal().mean()  # gradients may be as small as numbers get
        seen = above @ exact
        basis = torch.linalg.svd(seen @ self.root, full_matrices=False).U
        left = torch.linalg.solve_triangular(above, basis, upper=True)
        right = basis.T @ seen
        # L need not be well conditioned: what rounding has left of the matrix is added.
        right += basis.T @ (above @ (exact - left @ right))
        return _unit(weight, left, right)


class RowMeasure(Measure):
    """What a direction of an embedding table carries to what is looked up.

    Parameters
    ----------
    root : Tensor, shape (m,)
        Root of how often each row is read.
    """

    root: Tensor

    def __init__(self, root: Tensor) -> None:
        super().__init__()
        self.register_buffer("root", root)

    def left(self, left: Tensor) -> Tensor:
        """Rows of U, each times its root."""
        return left.to(self.root.dtype) * self.root[:, None]

    @torch.no_grad()
    def decompose(self, weight: Tensor) -> Decomposition:
        """Directions of the table whose rows are weighed, those of U by W V; shape (m, n)."""
        exact = weight.detach().to(self.root.dtype)
        right = torch.linalg.svd(self.root[:, None] * exact, full_matrices=False).Vh
        return _unit(weight, exact @ right.T, right)


def _unit(like: Tensor, left: Tensor, right: Tensor) -> Decomposition:
    """Lengths moved into sigma, so that an optimiser's step means the same for every direction."""
    columns, rows = vector_norm(left, dim=0), vector_norm(right, dim=1)
    left, right = _normalised(left, columns), _normalised(right.T, rows).T
    return Decomposition(left.to(like.dtype), (columns * rows).to(precise(like)), right.to(like.dtype))


def _normalised(columns: Tensor, lengths: Tensor) -> Tensor:
    """Columns of length 1; one of length 0 has no direction, and is given any: 0 / 0 is not a number."""
    even = torch.full_like(columns, len(columns) ** -0.5)
    return torch.where(lengths > 0, columns / lengths, even)
