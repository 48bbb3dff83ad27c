"""Attention bias of all pairs of a batch in one pass on a GPU: features, embedding and mask.

Nothing of a pair but its bias is written to memory. Triton comes with PyTorch's builds for GPUs.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from softjet.config.part import PairMass
from softjet.part.pairs import EPSILON, PairEmbedding, cylindrical, momenta

TILE = 8
"""A program works on as many particles by as many."""

WARPS = {torch.bfloat16: 2, torch.float16: 2, torch.float32: 8}
"""Of a program. With four, Hopper multiplies 16-bit numbers by groups of warps, for which the ptxas of
Triton 3.6 (12.8.93) made code that reads operands from the wrong place, silently; float32 has no such
products."""

WIDTHS = (16, 32, 64)
"""Of layers that a program multiplies with."""

HEADS = 16
"""Heads at most; the last matrix is filled up to so many."""

SMALLEST = tl.constexpr(EPSILON)
HALF_TURN = tl.constexpr(math.pi)
ROOT_HALF = tl.constexpr(math.sqrt(0.5))


def fits(embed: PairEmbedding) -> bool:
    """Tell whether the kernel can compute an embedding: hidden layers of one width, 16 heads at most."""
    *hidden, heads = (len(bias) for _, bias in embed.folded())
    return len(set(hidden)) == 1 and hidden[0] in WIDTHS and heads <= HEADS


class FusedPairBias(nn.Module):
    """Attention bias of a trained network in evaluation, masked.

    Features, sums and activations are float32. It does not follow later changes of the weights.

    Parameters
    ----------
    embed : PairEmbedding
        One that :func:`fits`.
    mass : "published" or "stable"
        As of :func:`softjet.part.pairs.pair_features`.
    dtype : torch.float32, torch.bfloat16 or torch.float16
        Of products and result.
    """

    def __init__(self, embed: PairEmbedding, mass: PairMass, dtype: torch.dtype) -> None:
        super().__init__()
        self.mass, self.dtype = mass, dtype
        (first, bias), *others = embed.folded()
        *hidden, (last, last_bias) = others
        self.heads, self.width = last.shape
        mean, deviation = embed.usual()
        spare = HEADS - self.heads
        buffers = {
            "norm": torch.stack((mean, 1 / deviation)),
            "first": first.t(),
            "bias": torch.stack((bias, *(b for _, b in hidden))),
            "hidden": torch.stack([weight.t() for weight, _ in hidden] or [last.new_zeros(0, 0)]).to(dtype),
            "last": nn.functional.pad(last.t(), (0, spare)).to(dtype),
            "last_bias": nn.functional.pad(last_bias, (0, spare)),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.detach().contiguous())

    norm: Tensor
    first: Tensor
    bias: Tensor
    hidden: Tensor
    last: Tensor
    last_bias: Tensor

    def forward(self, vectors: Tensor, real: Tensor, features: Tensor | None = None) -> Tensor:
        """Bias of each pair of particles: -inf for padded keys, 0 for padded queries.

        Parameters
        ----------
        vectors : Tensor, float32, shape (B, 4, P)
            px, py, pz and energy in GeV.
        real : Tensor, bool, shape (B, P)
        features : Tensor, float32, shape (B, P, P, 4), optional
            Filled with the pair features that the bias was made from, for those pairs whose first particle
            is not before the second.

        Returns
        -------
        Tensor, shape (B, H, P, P)
        """
        jets, _, size = vectors.shape
        out = vectors.new_empty(jets, self.heads, size, size, dtype=self.dtype)
        side = triton.cdiv(size, TILE)
        _pair_bias[(jets, side * (side + 1) // 2)](
            cylindrical(vectors).contiguous(), momenta(vectors, self.mass).contiguous(), real.contiguous(),
            out, out if features is None else features, self.norm, self.first, self.bias, self.hidden,
            self.last, self.last_bias, jets * size, size,
            HEADS=self.heads, SPARE=HEADS, WIDTH=self.width, LAYERS=len(self.bias), TILE=TILE,
            NOTED=features is not None, num_warps=WARPS[self.dtype],
            # m^2 is a small difference: with fused operations it would be another number than PyTorch's.
            enable_fp_fusion=False,
        )  # fmt: skip
        return out


@triton.jit
def _gelu(x):
    return 0.5 * x * (1 + tl.erf(x * ROOT_HALF))


@triton.jit
def _square_of_sum(values, a, b, here):
    total = tl.load(values + a, here, 0.0) + tl.load(values + b, here, 0.0)
    return total * total


@triton.jit
def _logarithms(particles, momenta, a, b, here, stride):
    """Logarithms of kT, z, Delta and m^2 of particles at places a and b, as `softjet.part.pairs` has them."""
    pt_a, pt_b = tl.load(particles + a, here, 1.0), tl.load(particles + b, here, 1.0)
    y = tl.load(particles + stride + a, here, 0.0) - tl.load(particles + stride + b, here, 0.0)
    phi = tl.load(particles + 2 * stride + a, here, 0.0) - tl.load(particles + 2 * stride + b, here, 0.0)
    phi = tl.where(phi >= HALF_TURN, phi - 2 * HALF_TURN, phi)
    phi = tl.where(phi < -HALF_TURN, phi + 2 * HALF_TURN, phi)
    delta = tl.sqrt(y * y + phi * phi)
    softer = tl.minimum(pt_a, pt_b)
    x = _square_of_sum(momenta, a, b, here) + _square_of_sum(momenta + stride, a, b, here)
    x += _square_of_sum(momenta + 2 * stride, a, b, here)
    mass = (_square_of_sum(momenta + 3 * stride, a, b, here) - x).to(tl.float32)
    z = softer / tl.maximum(pt_a + pt_b, SMALLEST)
    return (
        tl.log(tl.maximum(softer * delta, SMALLEST)),
        tl.log(tl.maximum(z, SMALLEST)),
        tl.log(tl.maximum(delta, SMALLEST)),
        tl.log(tl.maximum(mass, SMALLEST)),
    )


@triton.jit
def _pair_bias(
    particles, momenta, real, out, noted, norm, first, bias, hidden, last, last_bias, stride, size,
    HEADS: tl.constexpr, SPARE: tl.constexpr, WIDTH: tl.constexpr, LAYERS: tl.constexpr,
    TILE: tl.constexpr, NOTED: tl.constexpr,
):  # fmt: skip
    """Bias of a tile of pairs of a jet, below the diagonal or on it, and of the mirrored tile."""
    jet, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    # Tiles are counted row by row. The root is exact where a row begins.
    row = ((tl.sqrt_rn(8.0 * tile + 1.0) - 1.0) * 0.5).to(tl.int32)
    pair = tl.arange(0, TILE * TILE)
    i = row * TILE + pair // TILE
    j = (tile - row * (row + 1) // 2) * TILE + pair % TILE
    a, b, inside = jet * size + i, jet * size + j, (i < size) & (j < size)
    real_a = tl.load(real + a, inside, 0) != 0
    real_b = tl.load(real + b, inside, 0) != 0
    kt, z, delta, mass = _logarithms(particles, momenta, a, b, real_a & real_b, stride)
    if NOTED:
        place = noted + (a * size + j) * 4
        below = inside & (i >= j)
        tl.store(place, kt, below)
        tl.store(place + 1, z, below)
        tl.store(place + 2, delta, below)
        tl.store(place + 3, mass, below)
    kt = (kt - tl.load(norm)) * tl.load(norm + 4)
    z = (z - tl.load(norm + 1)) * tl.load(norm + 5)
    delta = (delta - tl.load(norm + 2)) * tl.load(norm + 6)
    mass = (mass - tl.load(norm + 3)) * tl.load(norm + 7)
    wide, heads = tl.arange(0, WIDTH), tl.arange(0, SPARE)
    x = tl.load(bias + wide)[None, :] + kt[:, None] * tl.load(first + wide)[None, :]
    x += z[:, None] * tl.load(first + WIDTH + wide)[None, :]
    x += delta[:, None] * tl.load(first + 2 * WIDTH + wide)[None, :]
    x += mass[:, None] * tl.load(first + 3 * WIDTH + wide)[None, :]
    square = wide[:, None] * WIDTH + wide[None, :]
    for layer in tl.static_range(LAYERS - 1):
        weight = tl.load(hidden + layer * WIDTH * WIDTH + square)
        x = tl.dot(_gelu(x).to(weight.dtype), weight, input_precision="ieee")
        x += tl.load(bias + (layer + 1) * WIDTH + wide)[None, :]
    weight = tl.load(last + wide[:, None] * SPARE + heads[None, :])
    x = tl.dot(_gelu(x).to(weight.dtype), weight, input_precision="ieee")
    x = _gelu(x + tl.load(last_bias + heads)[None, :])
    x = tl.where(real_a[:, None] & real_b[:, None], x, 0.0)
    plane = out + ((jet * HEADS + heads) * size * size)[None, :]
    whole = inside[:, None] & (heads < HEADS)[None, :]
    by_b = tl.where(real_b[:, None], x, float("-inf")).to(out.dtype.element_ty)
    tl.store(plane + (i * size + j)[:, None], by_b, whole)
    by_a = tl.where(real_a[:, None], x, float("-inf")).to(out.dtype.element_ty)
    tl.store(plane + (j * size + i)[:, None], by_a, whole)
