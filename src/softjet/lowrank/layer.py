"""Linear layers whose rank is learned."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from softjet.lowrank.dense import dense_bias, dense_weight, is_conv1d, is_linear
from softjet.lowrank.embedding import LowRankEmbedding, SoftThresholdEmbedding
from softjet.lowrank.factors import Factors, factorised, ranks_of
from softjet.lowrank.low_rank import LowRankLinear
from softjet.lowrank.pivot import PivotLinear


class SoftThresholdLinear(nn.Module):
    """A linear layer whose rank is learned by a gate on its singular values, a soft threshold by default.

    Each of the matrices packed in it along the outputs has its own singular values, gate and rank. Where the
    examples of a call outnumber the directions, the weight is composed and multiplied with in one product:
    the same function as U (S(sigma) * (V x)) + b, and less work.

    Parameters
    ----------
    linear : nn.Linear or transformers' Conv1D
        The layer it starts from, at full rank.
    factors : sequence of Factors, optional
        The matrices packed in it, in the order of the outputs; by default it holds one.

    Attributes
    ----------
    transposed : bool
        It stands for a Conv1D.
    """

    bias: nn.Parameter | None

    def __init__(self, linear: nn.Module, factors: Sequence[Factors] | None = None) -> None:
        super().__init__()
        weight = dense_weight(linear)
        self.out_features, self.in_features = weight.shape
        self.pieces = nn.ModuleList(factors or factorised(weight))
        self.register_parameter("bias", dense_bias(linear))
        self.transposed = is_conv1d(linear)

    def factors(self) -> list[Factors]:
        """Its matrices, in the order of the outputs."""
        return [piece for piece in self.pieces if isinstance(piece, Factors)]

    @property
    def weight(self) -> Tensor:
        """The weight that it multiplies with, shape (out, in)."""
        return torch.cat([piece.weight() for piece in self.factors()])

    def forward(self, x: Tensor) -> Tensor:
        """Multiply; shapes (..., in) -> (..., out)."""
        if self._apart_is_cheaper(x.numel() // self.in_features):
            return self._apart(x)
        return functional.linear(x, self.weight, self.bias)

    def _apart(self, x: Tensor) -> Tensor:
        factors = self.factors()
        biases: Sequence[Tensor | None] = [None] * len(factors)
        if self.bias is not None:
            biases = self.bias.split([f.shape[0] for f in factors])
        pairs = zip(self._inner(x, factors), factors, biases, strict=True)
        outputs = [functional.linear(inner, f.left, bias) for inner, f, bias in pairs]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)

    def _inner(self, x: Tensor, factors: Sequence[Factors]) -> Sequence[Tensor]:
        # Where singular values alone are trained, their gradient comes cheaper without one of all of V.
        if not all(f.right.requires_grad for f in factors):
            return [f.inner(x) for f in factors]
        rights = torch.cat([f.scaled_right() for f in factors])
        return functional.linear(x, rights).split([len(f.sigma) for f in factors], dim=-1)

    def _apart_is_cheaper(self, rows: int) -> bool:
        sizes = [(len(piece.sigma), *piece.shape) for piece in self.factors()]
        apart = sum(rows * k * (m + n) for k, m, n in sizes)
        return apart < sum(k * m * n + rows * m * n for k, m, n in sizes)


SOFT = (SoftThresholdLinear, SoftThresholdEmbedding)
"""Layers whose rank is being learned."""

LOW_RANK = (LowRankLinear, PivotLinear, LowRankEmbedding)
"""What they become."""


def linear_weights(layer: nn.Module) -> int:
    """Parameters of a selected layer without its offset: dense, fused, or learning (as if fused)."""
    if isinstance(layer, SOFT):
        factors = layer.factors()
        return sum(f.parameters_at(r) for f, r in zip(factors, ranks_of(factors), strict=True))
    if isinstance(layer, LOW_RANK):
        return layer.weights()
    assert is_linear(layer) or isinstance(layer, nn.Embedding)
    return dense_weight(layer).numel()
