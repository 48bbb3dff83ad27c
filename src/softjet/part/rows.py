"""Small layers over very many rows, block by block, so that what passes between them stays in cache."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 8192
"""Rows of a block on a processor; a GPU takes all at once."""


def through(rows: Tensor, layers: Sequence[tuple[Tensor, Tensor]], differentiable: bool) -> Tensor:
    """Rows through one layer GELU(rows weight^T + bias) after the other.

    Parameters
    ----------
    rows : Tensor, shape (n, k)
        Its precision is that of products and result.
    layers : sequence of (Tensor, Tensor)
        Weight (m, k) and bias (m,) of each.
    differentiable : bool
        If not, a block goes through all layers before the next one is touched.

    Returns
    -------
    Tensor, shape (n, m of the last layer)
    """
    cast = [(weight.to(rows.dtype), bias.to(rows.dtype)) for weight, bias in layers]
    if not differentiable:
        if not len(rows):
            return rows.new_empty(0, len(cast[-1][1]))
        return torch.cat([_through(rows[block], cast) for block in blocks(rows)])
    for layer in cast:
        rows = _GeluLayer.apply(rows, *layer)
    return rows


def _through(values: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    for weight, bias in layers:
        values = functional.gelu(torch.addmm(bias, values, weight.t()))
    return values


def blocks(rows: Tensor) -> Iterator[slice]:
    """Slices of the rows that are worked on together."""
    size = BLOCK if rows.device.type == "cpu" else max(1, len(rows))
    for start in range(0, len(rows), size):
        yield slice(start, start + size)


class _GeluLayer(torch.autograd.Function):
    """A layer; autograd would go over all rows once for every operation."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        inner = rows.new_empty(len(rows), len(weight))
        values = torch.empty_like(inner)
        for block in blocks(rows):
            torch.addmm(bias, rows[block], weight.t(), out=inner[block])
            torch.ops.aten.gelu.out(inner[block], out=values[block])
        ctx.save_for_backward(rows, weight, inner)
        return values

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        rows, weight, inner = ctx.saved_tensors
        of_rows = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        # A block's sum may be rounded to the rows' precision; the sum of all blocks is not.
        precise = torch.promote_types(rows.dtype, torch.float32)
        of_weight, of_bias = (weight.new_zeros(shape, dtype=precise) for shape in (weight.shape, len(weight)))
        for block in blocks(rows):
            gradient = torch.ops.aten.gelu_backward(upstream[block], inner[block])
            of_weight += gradient.t() @ rows[block]
            of_bias += gradient.sum(0)
            if of_rows is not None:
                torch.mm(gradient, weight, out=of_rows[block])
        return of_rows, of_weight.to(weight.dtype), of_bias.to(weight.dtype)
