"""Inference with the particle blocks as one compiled function, which keeps a jet in a core's cache."""

import ctypes
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from softjet.errors import InputError
from softjet.part.compiling import compiled
from softjet.part.inference import InferenceModel, InferencePrecision, padded
from softjet.part.model import ParticleTransformer
from softjet.part.pairs import pair_features, real_pairs

MOST = 128
"""Particles of a jet at most; a batch with a longer one goes the way of `InferenceModel`."""

COLUMNS = 64
"""Columns of a matrix that are computed together (`blocks.c`)."""

CHANNELS = 16
"""Of a head: a vector."""


class NativeModel(InferenceModel):
    """`InferenceModel` whose particle blocks are compiled for this processor when it is made.

    For a processor with AVX-512 (bfloat16: AVX512-BF16) and a C compiler, `cc` or that of the variable CC. A
    jet passes through all blocks before the next one does, without padding, so that batches need not be
    sorted. In bfloat16 only what is multiplied is rounded: sums, norms, softmax and what is added to are
    float32.

    Parameters
    ----------
    model : ParticleTransformer
        Trained, dense, its heads 16 channels wide, and 64 a divisor of the other widths, as published.
    precision : "float32" or "bfloat16"
        Of the products.

    Raises
    ------
    InputError
        As of `InferenceModel`; a shape, a precision or a processor that this is not made for; no compiler.
    """

    def __init__(self, model: ParticleTransformer, precision: InferencePrecision = "bfloat16") -> None:
        super().__init__(model, precision)
        if self.dtype not in (torch.float32, torch.bfloat16):
            raise InputError("precision", precision, "give float32 or bfloat16")
        self.sizes = sizes_of(model)
        library(*self.sizes, self.dtype)
        self.register_buffer("packed", torch.stack([_packed(block, self.dtype) for block in self.blocks]))

    packed: Tensor

    def passed(self, features: Tensor, vectors: Tensor, real: Tensor) -> Tensor:
        """Particles behind the last of their blocks, shape (B, P, W)."""
        if real.shape[1] > MOST or features.device.type != "cpu":
            return super().passed(features, vectors, real)
        pairs = self.embedded_pairs(pair_features(vectors, real_pairs(real), self.config.pair_mass))
        x, lengths = self.embedded_rows(features, real), real.sum(1)
        _, heads, hidden = self.sizes
        return padded(particle_blocks(x, pairs.float(), lengths, self.packed, heads, hidden), real)


def sizes_of(model: ParticleTransformer) -> tuple[int, int, int]:
    """Width, heads, width of the feed-forward layers; InputError where blocks cannot be compiled for them."""
    places = ("attention.in_proj", "attention.out_proj", "expand", "contract")
    if any(type(block.get_submodule(place)) is not nn.Linear for block in model.blocks for place in places):
        raise InputError("compiled blocks", "model", "has factored matrices; do without")
    width, heads = model.config.embed_dims[-1], model.config.heads
    if width != CHANNELS * heads or width % COLUMNS:
        problem = f"is {width} wide with {heads} heads, not a multiple of {COLUMNS} with heads of {CHANNELS}"
        raise InputError("compiled blocks", "model", f"{problem}; do without")
    return width, heads, width * model.config.expansion


def _packed(block: Any, dtype: torch.dtype) -> Tensor:
    """Weights of a block in the order in which `blocks.c` reads them, as one row of 32-bit pieces.

    As integers: a module that is cast to another type of floats leaves these alone.
    """
    parts: list[Tensor] = []
    for norm, linear in (
        (block.attention_norm, block.in_proj),
        (None, block.out_proj),
        (block.branch_norm, None),
        (block.feed_norm, block.expand),
        (block.hidden_norm, block.contract),
    ):
        if norm is not None:
            parts += [norm.weight.float(), norm.bias.float()]
        if linear is not None:
            parts += [_units(linear.weight, dtype), linear.bias.float()]
    parts.append(block.residual_scale.float())
    return torch.cat([part.detach().flatten() for part in parts]).view(torch.int32)


def _units(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix (N, K) in blocks of columns, neighbours of K together in 32 bits."""
    each = 4 // dtype.itemsize
    outputs, inputs = matrix.shape
    blocks = matrix.detach().to(dtype).reshape(outputs // COLUMNS, COLUMNS, inputs // each, each)
    return blocks.transpose(1, 2).contiguous().flatten().view(torch.float32)


@torch.library.custom_op("softjet::particle_blocks", mutates_args=())
def particle_blocks(
    x: Tensor, pairs: Tensor, lengths: Tensor, weights: Tensor, heads: int, hidden: int
) -> Tensor:
    """Take the particles of jets through blocks.

    Parameters
    ----------
    x : Tensor, shape (n, W)
        Particles of all jets end to end, in the precision of the products.
    pairs : Tensor, float32, shape (pairs, H)
        Bias of every pair of a jet, a particle with itself too, as of `softjet.part.pairs.real_pairs`.
    lengths : Tensor, int64, shape (B,)
        Particles of each jet, MOST at most.
    weights : Tensor, int32, shape (blocks, size)
        Packed.
    heads, hidden : int
        H, and the width of the feed-forward layers.

    Returns
    -------
    Tensor, shape (n, W), of x's type

    Raises
    ------
    InputError
        Lengths that are not those of `x` and `pairs`, or a jet of more than MOST particles.
    MemoryError
        For want of memory.
    """
    check_lengths(lengths, len(x), len(pairs))
    out, pairs, lengths = x.float().clone(), pairs.contiguous(), lengths.contiguous()
    most = int(lengths.max()) if len(lengths) else 0
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (weights, out, pairs, lengths)]
    call = library(x.shape[1], heads, hidden, x.dtype).particle_blocks
    if call(pointers[0], len(weights), *pointers[1:], len(lengths), most):
        raise MemoryError(f"compiled blocks of jets of {most} particles")
    return out.to(x.dtype)


def check_lengths(lengths: Tensor, particles: int, pairs: int) -> None:
    """Refuse lengths of jets that are not those of so many particles and pairs: as far is memory read."""
    wanted = int(lengths.sum()), int(pairs_of(lengths).sum())
    if (particles, pairs) != wanted or (lengths < 0).any() or (lengths > MOST).any():
        problem = f"ask for {wanted[0]} particles and {wanted[1]} pairs of jets of {MOST} at most"
        raise InputError("compiled blocks", "lengths", f"{problem}; {particles} and {pairs} are given")


def pairs_of(lengths: Tensor) -> Tensor:
    """Pairs of jets of so many particles, each once, a particle with itself too."""
    return lengths * (lengths + 1) // 2


@register_flop_formula(torch.ops.softjet.particle_blocks, get_raw=True)
def _flops(*given: Any, **_: Any) -> float:
    """Of matrices and of attention, a multiplication and an addition two."""
    x, _pairs, lengths, weights, _heads, hidden = given
    return flops(lengths, x.shape[1], hidden, len(weights))


def flops(lengths: Tensor, width: int, hidden: int, depth: int) -> float:
    """Of jets of so many particles through so many blocks, a multiplication and an addition two."""
    matrices = float(lengths.sum()) * (4 * width * width + 2 * width * hidden)
    attention = 2 * width * float(lengths.double().square().sum())
    return 2 * depth * (matrices + attention)


def library(width: int, heads: int, hidden: int, dtype: torch.dtype) -> ctypes.CDLL:
    """Compile `blocks.c` for a shape, once a process.

    Parameters
    ----------
    width, heads, hidden : int
        Of the blocks.
    dtype : torch.dtype
        float32 or bfloat16.

    Raises
    ------
    InputError
        There is no compiler, or it cannot compile this for the processor.
    """
    return compiled("blocks.c", dtype == torch.bfloat16, W=width, H=heads, F=hidden, MOST=MOST)
