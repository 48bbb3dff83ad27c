"""From learned ranks to plain low-rank layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from softjet.lowrank.dense import dense_linear
from softjet.lowrank.embedding import LowRankEmbedding, SoftThresholdEmbedding
from softjet.lowrank.factors import Factors
from softjet.lowrank.layer import SoftThresholdLinear
from softjet.lowrank.low_rank import LowRankLinear, Piece
from softjet.lowrank.pivot import PivotLinear, pivots
from softjet.lowrank.selection import replace, soft_layers


@dataclass(frozen=True)
class Fused:
    """Weights of one layer, or of several that share them.

    Attributes
    ----------
    layout : list of Piece
        Its matrices.
    inner : Parameter
        First product; where no matrix is of low rank, the dense weight as its layer stores it.
    outer : list of Parameter
        Second product, a matrix each of low rank.
    """

    layout: list[Piece]
    inner: nn.Parameter
    outer: list[nn.Parameter]

    @property
    def dense(self) -> bool:
        """No matrix is of low rank."""
        return not self.outer


class FusedPivots(NamedTuple):
    """Weights of one layer in pivot form, or of several that share them; fields as of PivotLinear."""

    layout: list[Piece]
    inner: nn.ParameterList
    outer: nn.ParameterList
    order: Tensor


@torch.no_grad()
def fuse(model: nn.Module) -> nn.Module:
    """Replace every layer whose rank was learned by what it computes at that rank, in place.

    Each matrix becomes the pair U[m, r] and (S V)[r, n], with S exactly what the layer multiplies with in
    training, or the pivot form of that pair; where this is not smaller than the matrix, it stays dense. A
    layer whose matrices are all dense becomes again what it was, any other a LowRankLinear, PivotLinear or
    LowRankEmbedding. Layers that share their matrices share what these become.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    nn.Module
        The same model.
    """
    weights: dict[Factors, Fused | FusedPivots] = {}
    made: dict[nn.Module, nn.Module] = {}  # a module may stand at several paths
    for path, layer in soft_layers(model).items():
        factors = layer.factors()
        if factors[0] not in weights:
            weights[factors[0]] = _fused(factors, isinstance(layer, SoftThresholdLinear) and layer.transposed)
        made.setdefault(layer, _plain(layer, weights[factors[0]]))
        replace(model, path, made[layer])
    return model


def as_pairs(model: nn.Module) -> nn.Module:
    """Replace every layer in pivot form by one of pairs of factors of the same rank, in place.

    For whoever has the memory, r^2 numbers more a matrix: a pair need not put its inputs in order.

    Parameters
    ----------
    model : nn.Module
        Fused, or loaded by :func:`softjet.lowrank.load_compressed`.

    Returns
    -------
    nn.Module
        The same model.
    """
    made: dict[nn.Module, nn.Module] = {}  # a module may stand at several paths
    for path, layer in list(model.named_modules(remove_duplicate=False)):
        if isinstance(layer, PivotLinear):
            made.setdefault(layer, layer.as_pair())
            replace(model, path, made[layer])
    return model


def _fused(factors: list[Factors], transposed: bool) -> Fused | FusedPivots:
    layout = [_piece(f) for f in factors]
    pairs = [_pair(f, piece) for f, piece in zip(factors, layout, strict=True)]
    if factors[0].form == "pivot" and any(outer is not None for _, outer in pairs):
        return _pivoted(layout, pairs)
    inner = torch.cat([inner for inner, _ in pairs])
    outer = [nn.Parameter(outer) for _, outer in pairs if outer is not None]
    return Fused(layout, nn.Parameter(inner.T.contiguous() if transposed and not outer else inner), outer)


def _pivoted(layout: list[Piece], pairs: Sequence[tuple[Tensor, Tensor | None]]) -> FusedPivots:
    low = [pivots(outer, inner) for inner, outer in pairs if outer is not None]
    columns = iter(low)
    outers = nn.ParameterList(inner if outer is None else next(columns).outer for inner, outer in pairs)
    order = torch.stack([pivot.order for pivot in low])
    return FusedPivots(layout, nn.ParameterList(pivot.inner for pivot in low), outers, order)


def _piece(factors: Factors) -> Piece:
    (m, n), rank = factors.shape, factors.rank()
    return Piece(m, rank if factors.parameters_at(rank) < m * n else None)


def _pair(factors: Factors, piece: Piece) -> tuple[Tensor, Tensor | None]:
    """Rows of the first product and, for a low-rank piece, the matrix of the second."""
    if piece.rank is None:
        return factors.weight(), None
    kept = factors.selected()
    passed = factors.scaled_right()[kept]
    return passed, factors.left[:, kept].contiguous()


def _plain(layer: SoftThresholdLinear | SoftThresholdEmbedding, weights: Fused | FusedPivots) -> nn.Module:
    if isinstance(layer, SoftThresholdLinear):
        return _linear(layer, weights)
    assert isinstance(weights, Fused)
    return _table(layer, weights)


def _linear(layer: SoftThresholdLinear, weights: Fused | FusedPivots) -> nn.Module:
    if isinstance(weights, FusedPivots):
        return _pivot_linear(layer, weights)
    if weights.dense:
        return dense_linear(weights.inner, layer.bias, layer.transposed)
    with torch.device("meta"):
        fused = LowRankLinear(layer.in_features, weights.layout, bias=layer.bias is not None)
    fused.inner, fused.outer, fused.bias = weights.inner, nn.ParameterList(weights.outer), layer.bias
    return fused


def _pivot_linear(layer: SoftThresholdLinear, weights: FusedPivots) -> PivotLinear:
    with torch.device("meta"):
        fused = PivotLinear(layer.in_features, weights.layout, bias=layer.bias is not None)
    fused.inner, fused.outer, fused.bias = weights.inner, weights.outer, layer.bias
    fused.register_buffer("order", weights.order)
    return fused


def _table(layer: SoftThresholdEmbedding, weights: Fused) -> nn.Module:
    rows, width, padding = layer.num_embeddings, layer.embedding_dim, layer.padding_idx
    with torch.device("meta"):
        if weights.dense:
            table = nn.Embedding(rows, width, padding)
            table.weight = weights.inner
            return table
        low = LowRankEmbedding(rows, width, len(weights.inner), padding)
    low.inner, low.outer = weights.inner, weights.outer[0]
    return low
