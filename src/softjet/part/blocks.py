"""Attention, the particle block and the class block of Particle Transformer (arXiv 2202.03772, figure 3)."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from softjet.config.part import ParTModel
from softjet.part.packing import Group, rows_of


class Attention(nn.Module):
    """Multi-head attention with an additive bias, before the head scale.

    Parameters
    ----------
    width, heads : int
        Width of the model and number of heads; a head has width // heads channels.
    dropout : float
        Dropout of the attention weights in training.

    Attributes
    ----------
    edit : callable, optional
        Changes the weights (B, H, T, S) between softmax and values, to ask what they are good for
        (`softjet.attention.intervene`).
    """

    edit: Callable[[Tensor], Tensor] | None = None

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def project(self, query: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of `query`, keys and values of `source`.

        Parameters
        ----------
        query : Tensor, shape (B, T, W)
            What attends.
        source : Tensor, shape (B, S, W)
            What is attended to; the same object as `query` in self-attention.

        Returns
        -------
        q, k, v : Tensor, shapes (B, H, T, D), (B, H, S, D), (B, H, S, D)
        """
        q, k, v = self._split(self.in_proj(source))
        if query is not source:
            q = self._split(self.in_proj(query))[0]
        return q, k, v

    def _split(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).contiguous()

    def forward(self, query: Tensor, source: Tensor, real: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend.

        Parameters
        ----------
        query : Tensor, shape (B, T, W)
        source : Tensor, shape (B, S, W)
        real : Tensor, bool, shape (B, S)
            False for padding, which gets no attention; each jet has a real particle.
        bias : Tensor, shape (B, H, T, S), optional
            Added to q k / sqrt(D).

        Returns
        -------
        Tensor, shape (B, T, W)
        """
        q, k, v = self.project(query, source)
        logits = _logits(q, k, bias)
        # An exported graph cannot choose by the data.
        if torch.compiler.is_exporting() or not real.all():
            logits += without_padding(real, logits)
        return self.out_proj(self.mix(logits, v).transpose(1, 2).flatten(2))

    def forward_rows(self, rows: Tensor, groups: Sequence[Group]) -> Tensor:
        """Let the particles of each jet attend to each other; shapes (n, W) -> (n, W).

        Parameters
        ----------
        rows : Tensor, shape (n, W)
            Particles of all jets without padding.
        groups : sequence of Group
            The jets.
        """
        mixed = []
        for group, projected in rows_of(groups, self.in_proj(rows)):
            q, k, v = group.split(projected)
            mix = self._fused if q.is_cuda and self._may_fuse() else self._written_out
            mixed.append(group.joined(mix(q, k, v, group.bias)))
        return self.out_proj(torch.cat(mixed))

    def _may_fuse(self) -> bool:
        # The fused operation's gradients may come in any order, and nobody sees its weights.
        return self.edit is None and not torch.are_deterministic_algorithms_enabled()

    def _written_out(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        return self.mix(_logits(q, k, bias), v)

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """The same by PyTorch's one operation, which keeps no weights; slower on a processor."""
        dropout = self.dropout if self.training else 0.0
        return functional.scaled_dot_product_attention(q, k, v, bias, dropout_p=dropout)

    def mix(self, logits: Tensor, values: Tensor) -> Tensor:
        """Values weighted by the softmax of logits; shapes (B, H, T, S), (B, H, S, D) -> (B, H, T, D)."""
        # In bfloat16 a processor takes twice as long.
        weights = logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        if self.edit is not None:
            weights = self.edit(weights)
        weights = functional.dropout(weights, self.dropout, self.training)
        return (weights.flatten(0, 1) @ values.flatten(0, 1)).unflatten(0, weights.shape[:2])


def _logits(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    """Queries (B, H, T, D) on keys (B, H, S, D) as q k / sqrt(D) + bias, shape (B, H, T, S)."""
    added = q.new_zeros(()) if bias is None else bias.flatten(0, 1)
    scale = 1 / math.sqrt(q.shape[-1])
    return torch.baddbmm(added, q.flatten(0, 1), k.flatten(0, 1).mT, alpha=scale).unflatten(0, q.shape[:2])


def without_padding(real: Tensor, logits: Tensor) -> Tensor:
    """What to add to logits (B, H, T, S) so that keys that are not `real` (B, S) get no weight.

    A sum, since filling in takes a processor several times as long; what stands at padding is finite.
    """
    return logits.new_zeros(real.shape).masked_fill(~real, -math.inf)[:, None, None]


class Block(nn.Module):
    """A block of attention and feed-forward layers with NormFormer's extra norms and scales.

    Parameters
    ----------
    config : ParTModel
        Shape of the model.
    dropout : float
        Dropout of attention weights, activations and both branches.
    """

    def __init__(self, config: ParTModel, dropout: float) -> None:
        super().__init__()
        width, hidden = config.embed_dims[-1], config.embed_dims[-1] * config.expansion
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, config.heads, dropout)
        self.head_scale = nn.Parameter(torch.ones(config.heads))
        self.branch_norm = nn.LayerNorm(width)
        self.feed_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.hidden_norm = nn.LayerNorm(hidden)
        self.contract = nn.Linear(hidden, width)
        self.residual_scale = nn.Parameter(torch.ones(width))
        self.dropout = nn.Dropout(dropout)

    def add_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        """What attention gave, scaled by head and normed, added to its input; shapes (..., W) -> (..., W)."""
        scale = self.head_scale.repeat_interleave(attended.shape[-1] // len(self.head_scale))
        return x + self.dropout(self.branch_norm(attended * scale))

    def add_feed_forward(self, x: Tensor) -> Tensor:
        """What the feed-forward layers make of x, added to it scaled; shapes (..., W) -> (..., W)."""
        hidden = self.dropout(functional.gelu(self.expand(self.feed_norm(x))))
        return self.residual_scale * x + self.dropout(self.contract(self.hidden_norm(hidden)))


class ParticleBlock(Block):
    """Particles attend to each other, biased by their pair features."""

    def forward(self, x: Tensor, real: Tensor, bias: Tensor) -> Tensor:
        """Update the particles.

        Parameters
        ----------
        x : Tensor, shape (B, P, W)
        real : Tensor, bool, shape (B, P)
        bias : Tensor, shape (B, H, P, P)

        Returns
        -------
        Tensor, shape (B, P, W)
        """
        normed = self.attention_norm(x)
        return self.add_feed_forward(self.add_attention(x, self.attention(normed, normed, real, bias)))

    def forward_rows(self, rows: Tensor, groups: Sequence[Group]) -> Tensor:
        """Update the particles of all jets, which stand without padding; shapes (n, W) -> (n, W)."""
        attended = self.attention.forward_rows(self.attention_norm(rows), groups)
        return self.add_feed_forward(self.add_attention(rows, attended))


class ClassBlock(Block):
    """The class token attends to itself and to the particles, without bias (arXiv 2103.17239)."""

    def forward(self, token: Tensor, x: Tensor, real: Tensor) -> Tensor:
        """Update the class token.

        Parameters
        ----------
        token : Tensor, shape (B, 1, W)
        x : Tensor, shape (B, P, W)
        real : Tensor, bool, shape (B, P)

        Returns
        -------
        Tensor, shape (B, 1, W)
        """
        source = self.attention_norm(torch.cat((token, x), dim=1))
        real = functional.pad(real, (1, 0), value=True)
        return self.add_feed_forward(self.add_attention(token, self.attention(token, source, real)))
