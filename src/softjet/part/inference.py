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
    bias, once for all blocks; the class blocks project no query of a particle. It does not follow later
    changes of the model's weights.

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
        self.class_blocks = nn.ModuleList(_FastBlock(block, self.dtype) for block in model.class_blocks)
        self.register_buffer("class_token", model.class_token.detach().to(self.dtype))
        self.norm, self.head = _copy(model.norm, torch.float32), _copy(model.head, torch.float32)
        self.eval().requires_grad_(False)

    class_token: Tensor
    feature_scale: Tensor
    feature_shift: Tensor

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
        rows = self.embed(self.normalised(features.transpose(1, 2)[real]))
        return rows.new_zeros(*real.shape, rows.shape[-1]).masked_scatter_(real[..., None], rows)

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
        self.query, self.key_value = _split(self.in_proj)
        self.out_proj = scaled_projection(block.attention, block.head_scale).to(dtype)
        self.residual_scale = nn.Parameter(block.residual_scale.detach().to(dtype))

    def forward(self, x: Tensor, source: Tensor, bias: Tensor) -> Tensor:
        """Update x (B, T, W) by attention to `source` (B, S, W), itself or a sequence that begins with x."""
        normed = self.attention_norm(source)
        # As published, the class token asks as it is, without the norm.
        q, k, v = self._project(normed if x is source else x, normed)
        out = attend(q, k, v, bias).transpose(1, 2).flatten(2)
        x = x + self.branch_norm(self.out_proj(out))
        hidden = self.hidden_norm(functional.gelu(self.expand(self.feed_norm(x))))
        return torch.addcmul(self.contract(hidden), self.residual_scale, x)

    def _project(self, query: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if query is source:
            q, k, v = self.in_proj(source).unflatten(-1, (3, self.heads, -1)).unbind(2)
        else:
            q = self.query(query)[..., : query.shape[-1]].unflatten(-1, (self.heads, -1))
            k, v = (
                self.key_value(source)[..., -2 * source.shape[-1] :]
                .unflatten(-1, (2, self.heads, -1))
                .unbind(2)
            )
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


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
    heads = q.shape[1]
    bias = bias.expand(*q.shape[:3], k.shape[2]).flatten(0, 1)
    q, k, v = (part.flatten(0, 1) for part in (q, k, v))
    logits = torch.baddbmm(bias, q, k.mT, alpha=1 / math.sqrt(q.shape[-1]))
    weights = logits.softmax(-1, dtype=torch.float32).to(v.dtype)
    return (weights @ v).unflatten(0, (-1, heads))


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


def _split(projection: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Two layers of a joint projection: one begins with the queries, one ends with the keys and values.

    A factored one stays whole: its matrices share their first product.
    """
    if not isinstance(projection, nn.Linear):
        return projection, projection
    weight, bias = projection.weight, projection.bias
    width = len(bias) // 3
    return _linear(weight[:width], bias[:width]), _linear(weight[width:], bias[width:])


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight, linear.bias = nn.Parameter(weight.contiguous()), nn.Parameter(bias)
    return linear


def _copy(module: Module, dtype: torch.dtype | None) -> Module:
    return copy.deepcopy(module).to(dtype)
