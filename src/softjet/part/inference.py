"""A trained Particle Transformer prepared for inference: the same function, less work."""

import copy
import math
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from softjet.errors import InputError
from softjet.part.blocks import Attention, Block
from softjet.part.model import ParticleTransformer
from softjet.part.norm import usual_affine
from softjet.part.pairs import mask_keys, pair_features, real_pairs, symmetric_bias
from softjet.part.rows import through

Module = TypeVar("Module", bound=nn.Module)

InferencePrecision = Literal["float32", "bfloat16", "float16"]
"""Of weights and activations. float16 has three bits more than bfloat16, and is fast on GPUs alone."""


class InferenceModel(nn.Module):
    """Particle Transformer for inference alone, dense or with factored matrices.

    Batch normalisations of the pair embedding are folded into its linear layers and head scales into the
    output projections; each pair is embedded once, in blocks that stay in cache; padding is masked in the
    bias, once for all blocks; the class token, which asks alone, asks and weighs particles as they are, and
    their keys and values are never made. It does not follow later changes of the model's weights.

    Parameters
    ----------
    model : ParticleTransformer
        Trained.
    precision : "float32", "bfloat16" or "float16"
        Of weights and activations; pair features and logits are float32 with all of them.

    Raises
    ------
    InputError
        Another precision, or weights of attention that are edited on the way.
    """

    def __init__(self, model: ParticleTransformer, precision: InferencePrecision = "float32") -> None:
        super().__init__()
        if precision not in get_args(InferencePrecision):
            raise InputError("precision", precision, "is not known: give float32, bfloat16 or float16")
        dtype: torch.dtype = getattr(torch, precision)
        self.config, self.dtype = model.config, dtype
        scale, shift = usual_affine(model.embed.norm)
        self.register_buffer("feature_scale", scale.detach())
        self.register_buffer("feature_shift", shift.detach())
        self.embed, self.pair_embed = _copy(model.embed.layers, self.dtype), _copy(model.pair_embed, None)
        self.blocks = nn.ModuleList(_FastBlock(block, self.dtype) for block in model.blocks)
        self.class_blocks = nn.ModuleList(_TokenBlock(block, self.dtype) for block in model.class_blocks)
        self.register_buffer("class_token", model.class_token.detach().to(self.dtype, copy=True))
        self.norm, self.head = _copy(model.norm, torch.float32), _copy(model.head, torch.float32)
        self.eval().requires_grad_(False)

    class_token: Tensor
    feature_scale: Tensor
    feature_shift: Tensor

    @torch.inference_mode()
    def forward(self, features: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        """Logits of the classes, float32; arguments as of :meth:`ParticleTransformer.forward`."""
        real = mask.squeeze(1)
        return self.classified(self.passed(features, vectors, real), real)

    def passed(self, features: Tensor, vectors: Tensor, real: Tensor) -> Tensor:
        """Particles behind the last of their blocks, shape (B, P, W)."""
        bias = self.pair_bias(vectors, real)
        x = self.embedded(features, real)
        for block in self.blocks:
            x = block(x, x, bias)
        return x

    def classified(self, x: Tensor, real: Tensor) -> Tensor:
        """Logits of the class token that asks particles (B, P, W); float32, shape (B, C)."""
        token = self.class_token.expand(len(x), -1, -1)
        asked = functional.pad(real, (1, 0), value=True)
        hidden = x.new_zeros(()).expand(asked.shape).masked_fill(~asked, -math.inf)[:, None, None]
        for block in self.class_blocks:
            token = block(token, torch.cat((token, x), dim=1), hidden)
        return self.head(self.norm(token.squeeze(1).float()))

    def embedded(self, features: Tensor, real: Tensor) -> Tensor:
        """Embedded particles, shape (B, P, W)."""
        return padded(self.embedded_rows(features, real), real)

    def embedded_rows(self, features: Tensor, real: Tensor) -> Tensor:
        """Embedded particles without padding, shape (n, W)."""
        rows: Tensor = self.embed(self.normalised(features.transpose(1, 2)[real]))
        return rows

    def normalised(self, rows: Tensor) -> Tensor:
        """Features of particles (..., F) as the embedding reads them."""
        return (rows * self.feature_scale + self.feature_shift).to(self.dtype)

    def pair_bias(self, vectors: Tensor, real: Tensor) -> Tensor:
        """Attention bias, -inf for padded keys; shape (B, H, P, P)."""
        pairs = real_pairs(real)
        rows = pair_features(vectors, pairs, self.config.pair_mass)
        bias = symmetric_bias(self.embedded_pairs(rows), pairs, (real.shape[0], real.shape[1]))
        return bias if real.all() else mask_keys(bias, real)

    def embedded_pairs(self, rows: Tensor) -> Tensor:
        """Embedding of pair features, shapes (n, 4) -> (n, H)."""
        values = self.pair_embed.standardised(rows, self.dtype)
        return through(values, self.pair_embed.folded(), differentiable=False)


class _FastBlock(nn.Module):
    """A block of particles, with its attention weights never written out."""

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        assert isinstance(block, Block)
        if block.attention.edit is not None:
            raise InputError("attention", "edit", "is not known to the model for inference; take it off")
        self.heads = block.attention.heads
        self.attention_norm, self.branch_norm = (
            _copy(block.attention_norm, dtype),
            _copy(block.branch_norm, dtype),
        )
        self.feed_norm, self.expand = _copy(block.feed_norm, dtype), _copy(block.expand, dtype)
        self.hidden_norm, self.contract = _copy(block.hidden_norm, dtype), _copy(block.contract, dtype)
        self.in_proj: nn.Module = _copy(block.attention.in_proj, dtype)  # may be factored
        self.out_proj = scaled_projection(block.attention, block.head_scale).to(dtype)
        self.residual_scale = nn.Parameter(block.residual_scale.detach().to(dtype, copy=True))

    def forward(self, x: Tensor, source: Tensor, bias: Tensor) -> Tensor:
        """Update x (B, T, W) by attention to `source` (B, S, W), itself or a sequence that begins with x."""
        x = x + self.branch_norm(self.out_proj(self.attended(x, self.attention_norm(source), bias)))
        hidden = self.hidden_norm(functional.gelu(self.expand(self.feed_norm(x))))
        return torch.addcmul(self.contract(hidden), self.residual_scale, x)

    def attended(self, x: Tensor, normed: Tensor, bias: Tensor) -> Tensor:  # noqa: ARG002 (a token asks by it)
        """What the heads take (B, T, W) from the normed source (B, S, W), for each of x (B, T, W)."""
        q, k, v = self._split(self.in_proj(normed))
        return attend(q, k, v, bias).transpose(1, 2).flatten(2)

    def _split(self, projected: Tensor) -> tuple[Tensor, ...]:
        parts = projected.unflatten(-1, (3, self.heads, -1)).unbind(2)
        return tuple(part.transpose(1, 2) for part in parts)


class _TokenBlock(_FastBlock):
    """A block of the class token: one query for many keys.

    A key is W_k n + b_k of a normed particle n, so that q . key = (W_k^T q) . n + q . b_k, whose last term is
    the same for all keys; and the mean of values W_v n + b_v is W_v (mean of n) + b_v. A factored projection
    stays as it is: its matrices share their first product.
    """

    def attended(self, x: Tensor, normed: Tensor, bias: Tensor) -> Tensor:
        """As of a block of particles; x (B, 1, W) asks as it is, without the norm, as published."""
        if not isinstance(self.in_proj, nn.Linear):
            q, (_, k, v) = self._split(self.in_proj(x))[0], self._split(self.in_proj(normed))
            return attend(q, k, v, bias).transpose(1, 2).flatten(2)
        query, key, value = self.in_proj.weight.chunk(3)
        query_bias, _, value_bias = self.in_proj.bias.chunk(3)
        q = functional.linear(x, query, query_bias).unflatten(-1, (self.heads, -1)).squeeze(1)
        asking = (q.transpose(0, 1) @ key.unflatten(0, (self.heads, -1))).transpose(0, 1)
        seen = _weights(asking, normed, bias.squeeze(1), q.shape[-1]) @ normed
        out = seen.transpose(0, 1) @ value.unflatten(0, (self.heads, -1)).mT
        return out.transpose(0, 1).flatten(1)[:, None] + value_bias


def padded(rows: Tensor, real: Tensor) -> Tensor:
    """Rows of particles (n, W) as jets (B, P, W), zero at padding."""
    return rows.new_zeros(*real.shape, rows.shape[-1]).masked_scatter_(real[..., None], rows)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention softmax(q k^T / sqrt(D) + bias) v, its softmax in float32.

    On a GPU it is PyTorch's fused one, which is slower on a processor for a few dozen particles.

    Parameters
    ----------
    q, k, v : Tensor, shapes (B, H, T, D), (B, H, S, D), (B, H, S, D)
    bias : Tensor, shape (B, H, T, S), or such that it broadcasts to that

    Returns
    -------
    Tensor, shape (B, H, T, D)
    """
    if q.is_cuda and q.shape[2] > 1:
        return functional.scaled_dot_product_attention(q, k, v, bias)
    heads, width = q.shape[1], q.shape[-1]
    bias = bias.expand(*q.shape[:3], k.shape[2]).flatten(0, 1)
    q, k, v = (part.flatten(0, 1) for part in (q, k, v))
    return (_weights(q, k, bias, width) @ v).unflatten(0, (-1, heads))


def _weights(q: Tensor, k: Tensor, bias: Tensor, width: int) -> Tensor:
    """Softmax of queries on keys, divided by the root of a query's channels, plus bias."""
    logits = torch.baddbmm(bias, q, k.mT, alpha=1 / math.sqrt(width))
    return logits.softmax(-1, dtype=torch.float32).to(q.dtype)


def scaled_projection(attention: Attention, head_scale: Tensor) -> nn.Module:
    """Output projection of an attention, with the scales of the heads behind it in it."""
    projection: nn.Module = attention.get_submodule("out_proj")
    bias = attention.out_proj.bias.detach()
    scale = head_scale.detach().repeat_interleave(len(bias) // len(head_scale))
    if not isinstance(projection, nn.Linear):
        return nn.Sequential(copy.deepcopy(projection), _Scale(scale))
    return _linear(scale[:, None] * projection.weight.detach(), scale * bias)


class _Scale(nn.Module):
    """A factor a channel."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight, linear.bias = nn.Parameter(weight.contiguous()), nn.Parameter(bias)
    return linear


def _copy(module: Module, dtype: torch.dtype | None) -> Module:
    return copy.deepcopy(module).to(dtype)
