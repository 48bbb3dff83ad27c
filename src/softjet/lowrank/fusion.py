"""From learned ranks to plain low-rank layers."""

import torch
from torch import Tensor, nn

from softjet.lowrank.layer import Factors, LowRankLinear, Piece, SoftThresholdLinear, kept_parameters
from softjet.lowrank.selection import replace, soft_layers


def fuse(model: nn.Module) -> nn.Module:
    """Replace every layer whose rank was learned by what it computes at that rank, in place.

    Each matrix becomes the pair U[m, r] and (S V)[r, n], with S exactly what the layer multiplies with in
    training; where the pair is not smaller than the matrix, it stays dense. A layer whose matrices are all
    dense becomes an nn.Linear again, any other a LowRankLinear.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    nn.Module
        The same model.
    """
    for path, layer in soft_layers(model).items():
        replace(model, path, _fused(layer))
    return model


@torch.no_grad()
def _fused(layer: SoftThresholdLinear) -> nn.Module:
    layout = [_piece(factors) for factors in layer.factors()]
    if all(piece.rank is None for piece in layout):
        return _dense(layer)
    fused = LowRankLinear(layer.in_features, layout, bias=layer.bias is not None)
    pairs = [_pair(f, piece) for f, piece in zip(layer.factors(), layout, strict=True)]
    fused.inner = nn.Parameter(torch.cat([inner for inner, _ in pairs]))
    fused.outer = nn.ParameterList(outer for _, outer in pairs if outer is not None)
    fused.bias = layer.bias
    return fused


def _piece(factors: Factors) -> Piece:
    (m, n), rank = factors.shape, factors.rank()
    return Piece(m, rank if kept_parameters(rank, m, n) < m * n else None)


def _pair(factors: Factors, piece: Piece) -> tuple[Tensor, Tensor | None]:
    """Rows of the first product and, for a low-rank piece, the matrix of the second."""
    if piece.rank is None:
        return factors.weight(), None
    kept = factors.selected()
    passed = factors.scaled_right(factors.passed())[kept]
    return passed, factors.left[:, kept].contiguous()


def _dense(layer: SoftThresholdLinear) -> nn.Linear:
    weight = layer.weight()
    linear = nn.Linear(
        layer.in_features, layer.out_features, layer.bias is not None, weight.device, weight.dtype
    )
    linear.weight = nn.Parameter(weight)
    if layer.bias is not None:
        linear.bias = layer.bias
    return linear
