"""A trained Particle Transformer prepared for inference: the same function, less work."""

import copy
import math
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from softjet.errors import InputError
from softjet.part.blocks import Attention, Block
from softjet.part.model import ParticleTransformer
from softjet.part.pairs import PairEmbedding, pair_features, real_pairs, symmetric_bias

PAIRS_AT_ONCE = 8192
"""Pairs that go through the pair embedding together, so that what lies between its layers stays in cache."""

Module = TypeVar("Module", bound=nn.Module)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class InferenceModel(nn.Module):
    """Particle Transformer for inference alone.

    Batch normalisations of the pair embedding are folded into its linear layers and head scales into the
    output projections; each pair is embedded once, in blocks that stay in cache; padding is masked in the
    bias, once for all blocks; attention is PyTorch's fused one; the class blocks project no query of a
    particle. It does not follow later changes of the model's weights.

    Parameters
    ----------
    model : ParticleTransformer
        Trained.
    precision : "float32" or "bfloat16"
        Of weights and activations; pair features and logits are float32 with either.

    Raises
    ------
    InputError
        Another precision, or weights of attention that are edited on the way.
    """

    def __init__(
        self, model: ParticleTransformer, precision: Literal["float32", "bfloat16"] = "float32"
    ) -> None:
        super().__init__()
        if precision not in DTYPES:
            raise InputError("precision", precision, "is not known: give float32 or bfloat16")
        self.config, self.dtype = model.config, DTYPES[precision]
        self.feature_norm, self.embed = _affine(model.embed.norm), _copy(model.embed.layers, self.dtype)
        self.pair_layers = folded_pair_layers(model.pair_embed, self.dtype)
        self.blocks = nn.ModuleList(_FastBlock(block, self.dtype) for block in model.blocks)
        self.class_blocks = nn.ModuleList(_FastBlock(block, self.dtype) for block in model.class_blocks)
        self.register_buffer("class_token", model.class_token.detach().to(self.dtype))
        self.norm, self.head = _copy(model.norm, torch.float32), _copy(model.head, torch.float32)
        self.eval().requires_grad_(False)

    class_token: Tensor

    @torch.inference_mode()
    def forward(self, features: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        """Logits of the classes, float32; arguments as of :meth:`ParticleTransformer.forward`."""
        real = mask.squeeze(1)
        bias = self.pair_bias(vectors, real)
        x = self.embedded(features, real)
        for block in self.blocks:
            x = block(x, x, bias)
        token = self.class_token.expand(len(x), -1, -1)
        padded = functional.pad(real, (1, 0), value=True)
        hidden = x.new_zeros(()).expand(padded.shape).masked_fill(~padded, -math.inf)[:, None, None]
        for block in self.class_blocks:
            token = block(token, torch.cat((token, x), dim=1), hidden)
        return self.head(self.norm(token.squeeze(1).float()))

    def embedded(self, features: Tensor, real: Tensor) -> Tensor:
        """Embedded particles, shape (B, P, W)."""
        scale, shift = self.feature_norm
        rows = features.transpose(1, 2)[real] * scale.to(features) + shift.to(features)
        rows = self.embed(rows.to(self.dtype))
        return rows.new_zeros(*real.shape, rows.shape[-1]).masked_scatter_(real[..., None], rows)

    def pair_bias(self, vectors: Tensor, real: Tensor) -> Tensor:
        """Attention bias, -inf for padded keys; shape (B, H, P, P)."""
        pairs = real_pairs(real)
        rows = pair_features(vectors, pairs, self.config.pair_mass)
        embedded = torch.cat([self._embed_pairs(block) for block in rows.split(PAIRS_AT_ONCE)])
        bias = symmetric_bias(embedded, pairs, (real.shape[0], real.shape[1]))
        return bias if real.all() else bias.masked_fill_(~real[:, None, None, :], -math.inf)

    def _embed_pairs(self, x: Tensor) -> Tensor:
        for layer in self.pair_layers:
            x = functional.gelu(layer(x).to(self.dtype))
        return x


class _FastBlock(nn.Module):
    """A block of either kind, with its attention weights never written out."""

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
        self.in_proj = _copy(block.attention.in_proj, dtype)
        self.out_proj = scaled_projection(block.attention, block.head_scale).to(dtype)
        self.residual_scale = nn.Parameter(block.residual_scale.detach().to(dtype))

    def forward(self, x: Tensor, source: Tensor, bias: Tensor) -> Tensor:
        """Update x (B, T, W) by attention to `source` (B, S, W), itself or a sequence that begins with x."""
        normed = self.attention_norm(source)
        # As published, the class token asks as it is, without the norm.
        q, k, v = self._project(normed if x is source else x, normed)
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x + self.branch_norm(self.out_proj(out.transpose(1, 2).flatten(2)))
        hidden = self.hidden_norm(functional.gelu(self.expand(self.feed_norm(x))))
        return torch.addcmul(self.contract(hidden), self.residual_scale, x)

    def _project(self, query: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if query is source:
            q, k, v = self.in_proj(source).unflatten(-1, (3, self.heads, -1)).unbind(2)
        else:
            width = source.shape[-1]
            weight, bias = self.in_proj.weight, self.in_proj.bias
            q = functional.linear(query, weight[:width], bias[:width])
            q = q.unflatten(-1, (self.heads, -1))
            k, v = (
                functional.linear(source, weight[width:], bias[width:])
                .unflatten(-1, (2, self.heads, -1))
                .unbind(2)
            )
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def folded_pair_layers(embedding: PairEmbedding, dtype: torch.dtype) -> nn.ModuleList:
    """Linear layers of a pair embedding, with the batch normalisations before and behind them in them.

    The first works in float32 whatever `dtype` is: bfloat16 would round a logarithm of 10 by 0.03.
    """
    norm, *layers = embedding
    scale, shift = _affine(norm)
    folded = nn.ModuleList()
    for linear, behind in zip(layers[::3], layers[1::3], strict=True):
        assert isinstance(linear, nn.Linear)
        weight, bias = linear.weight.detach(), linear.bias.detach()
        after, offset = _affine(behind)
        bias = after * (bias + weight @ shift) + offset
        weight = after[:, None] * weight * scale
        folded.append(_linear(weight, bias).to(dtype if len(folded) else torch.float32))
        scale, shift = torch.ones_like(bias), torch.zeros_like(bias)
    return folded


def scaled_projection(attention: Attention, head_scale: Tensor) -> nn.Linear:
    """Output projection of an attention, with the scales of the heads behind it in it."""
    projection = attention.out_proj
    weight, bias = projection.weight.detach(), projection.bias.detach()
    scale = head_scale.detach().repeat_interleave(len(bias) // len(head_scale))
    return _linear(scale[:, None] * weight, scale * bias)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight, linear.bias = nn.Parameter(weight.contiguous()), nn.Parameter(bias)
    return linear


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch normalisation in evaluation."""
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    return scale, norm.bias.detach() - norm.running_mean * scale


def _copy(module: Module, dtype: torch.dtype) -> Module:
    return copy.deepcopy(module).to(dtype)
