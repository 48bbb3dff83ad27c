"""Inference with the particle blocks as one compiled function, which keeps a jet in a core's cache."""

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import register_flop_formula

from softjet.errors import InputError
from softjet.lowrank.low_rank import LowRankLinear
from softjet.lowrank.pivot import PivotLinear
from softjet.part.compiling import check_memory, check_tensor, compiled
from softjet.part.inference import InferenceModel, InferencePrecision, padded
from softjet.part.model import ParticleTransformer
from softjet.part.pairs import pair_features, real_pairs

WHERE = "compiled blocks"
"""In errors."""

MOST = 128
"""Particles of a jet at most; a batch with a longer one goes the way of `InferenceModel`."""

COLUMNS = 64
"""Columns of a matrix that are computed together (`blocks.c`)."""

LANES = CHANNELS = 16
"""Numbers of a vector, and channels of a head."""


class NativeModel(InferenceModel):
    """`InferenceModel` whose particle blocks are compiled for this processor when it is made.

    For a processor with AVX-512 (bfloat16: AVX512-BF16) and a C compiler, `cc` or that of the variable CC. A
    jet passes through all blocks before the next one does, without padding, so that batches need not be
    sorted. In bfloat16 only what is multiplied is rounded: sums, norms, softmax and what is added to are
    float32.

    Parameters
    ----------
    model : ParticleTransformer
        Trained, dense or of low rank; heads are 16 channels wide, the whole a multiple of 64, as published.
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
        weights, shapes = zip(*(_packed(block, self.dtype) for block in self.blocks), strict=True)
        self.register_buffer("packed", torch.cat(weights))
        self.register_buffer("shapes", torch.cat(shapes))

    packed: Tensor
    shapes: Tensor

    def passed(self, features: Tensor, vectors: Tensor, real: Tensor) -> Tensor:
        """Particles behind the last of their blocks, shape (B, P, W)."""
        if real.shape[1] > MOST or features.device.type != "cpu":
            return super().passed(features, vectors, real)
        pairs = self.embedded_pairs(pair_features(vectors, real_pairs(real), self.config.pair_mass))
        # Autocast has opinions of its own on the type of rows.
        x, lengths = self.embedded_rows(features, real).to(self.dtype), real.sum(1)
        weights = self.packed, self.shapes, len(self.blocks)
        return padded(particle_blocks(x, pairs.float(), lengths, *weights, *self.sizes[1:]), real)


def sizes_of(model: ParticleTransformer) -> tuple[int, int, int]:
    """Width, heads, width of the feed-forward layers; InputError where blocks cannot be compiled for them."""
    width, heads = model.config.embed_dims[-1], model.config.heads
    if width != CHANNELS * heads or width % COLUMNS:
        problem = f"is {width} wide with {heads} heads, not a multiple of {COLUMNS} with heads of {CHANNELS}"
        raise InputError(WHERE, "model", f"{problem}; do without")
    return width, heads, width * model.config.expansion


class _Matrix(NamedTuple):
    """A matrix (N, K), or the factors (R, K) and (N, R) of one, and its offset."""

    first: Tensor | None
    last: Tensor
    bias: Tensor


def _matrices(layer: nn.Module) -> list[_Matrix]:
    """Matrices of a layer, side by side in its outputs."""
    if isinstance(layer, nn.Sequential):
        return _scaled(_matrices(layer[0]), layer[1].get_parameter("scale"))
    if isinstance(layer, PivotLinear):
        return _matrices(layer.as_pair())
    if isinstance(layer, LowRankLinear):
        return _low_rank(layer)
    if type(layer) is not nn.Linear:
        problem = f"has a {type(layer).__name__} where a linear layer was"
        raise InputError(WHERE, "model", f"{problem}; do without")
    bias = layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias
    return [_Matrix(None, layer.weight, bias)]


def _scaled(matrices: list[_Matrix], scale: Tensor) -> list[_Matrix]:
    scales = scale.split([len(matrix.last) for matrix in matrices])
    return [
        _Matrix(first, own[:, None] * last, own * bias)
        for own, (first, last, bias) in zip(scales, matrices, strict=True)
    ]


def _low_rank(layer: LowRankLinear) -> list[_Matrix]:
    outer, found = iter(layer.outer), []
    rows = layer.inner.split([piece.width for piece in layer.layout])
    bias = layer.inner.new_zeros(layer.out_features) if layer.bias is None else layer.bias
    offsets = bias.split([piece.outputs for piece in layer.layout])
    for piece, inner, offset in zip(layer.layout, rows, offsets, strict=True):
        first, last = (None, inner) if piece.rank is None else (inner, next(outer))
        found.append(_Matrix(first, last, offset))
    return found


def _packed(block: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights of a block in the order in which `blocks.c` reads them, in 32-bit pieces; shapes of matrices.

    As integers: a module that is cast to another type of floats leaves these alone.
    """
    parts: list[Tensor] = []
    shapes: list[tuple[int, int, int]] = []
    for norm, layer in (
        (block.attention_norm, block.in_proj),
        (None, block.out_proj),
        (block.branch_norm, None),
        (block.feed_norm, block.expand),
        (block.hidden_norm, block.contract),
    ):
        if norm is not None:
            parts += [norm.weight.float(), norm.bias.float()]
        for matrix in [] if layer is None else _matrices(layer):
            factors, shape = _units_of(matrix, dtype)
            parts += [*factors, matrix.bias.float()]
            shapes.append(shape)
    parts.append(block.residual_scale.float())
    weights = torch.cat([part.detach().flatten() for part in parts]).view(torch.int32)
    return weights, torch.tensor(shapes, dtype=torch.int32)


def _units_of(matrix: _Matrix, dtype: torch.dtype) -> tuple[list[Tensor], tuple[int, int, int]]:
    """A matrix, or its factors, in units; and its inputs, outputs and rank, in whole vectors; 0 if dense."""
    first, last, _ = matrix
    if len(last) % LANES:
        raise InputError(WHERE, "model", f"has a matrix of {len(last)} outputs; do without")
    if first is None:
        return [_units(last, dtype)], (last.shape[1], len(last), 0)
    inputs, rank = first.shape[1], len(first) + -len(first) % LANES
    if rank == 0 or rank * (inputs + len(last)) >= inputs * len(last):
        # Whole vectors of a rank, or what pivots hold of the unit matrix, can be more than the matrix.
        return _units_of(_Matrix(None, last.float() @ first.float(), matrix.bias), dtype)
    spare = rank - len(first)
    inner, outer = functional.pad(first, (0, 0, 0, spare)), functional.pad(last, (0, spare))
    return [_units(inner, dtype), _units(outer, dtype)], (inputs, len(last), rank)


def _units(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix (N, K) in blocks of columns, neighbours of K together in 32 bits."""
    each = 4 // dtype.itemsize
    pieces = matrix.detach().to(dtype).unflatten(1, (-1, each)).split(COLUMNS)
    units = [piece.transpose(0, 1).contiguous().flatten() for piece in pieces]
    return torch.cat(units).view(torch.float32)


@torch.library.custom_op("softjet::particle_blocks", mutates_args=())
def particle_blocks(
    x: Tensor,
    pairs: Tensor,
    lengths: Tensor,
    weights: Tensor,
    shapes: Tensor,
    depth: int,
    heads: int,
    hidden: int,
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
    weights : Tensor, int32
        Packed.
    shapes : Tensor, int32, shape (matrices, 3)
        Inputs, outputs and rank (0: dense) of each of their matrices.
    depth, heads, hidden : int
        Blocks, H, and the width of the feed-forward layers.

    Returns
    -------
    Tensor, shape (n, W), of x's type

    Raises
    ------
    InputError
        Lengths that are not those of `x` and `pairs`, weights that are not of these shapes, or a jet of more
        than MOST particles.
    MemoryError
        For want of memory.
    """
    check_lengths(lengths, len(x), len(pairs))
    _check_weights(weights, shapes, x.dtype, depth * (7 * x.shape[1] + 2 * hidden))
    out = x.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    check_tensor(WHERE, "pairs", pairs := pairs.contiguous(), torch.float32)
    starts, pair_starts = starts_of(lengths), starts_of(pairs_of(lengths))
    most = int(lengths.max()) if len(lengths) else 0
    tensors = weights, shapes, out, pairs, starts, pair_starts
    of_weights, of_shapes, *of_jets = (ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)
    given = of_weights, of_shapes, depth, *of_jets, len(lengths), most, torch.get_num_threads()
    failed = library(x.shape[1], heads, hidden, x.dtype).particle_blocks(*given)
    check_memory(failed, f"{WHERE} of jets of {most} particles")
    return out.to(x.dtype)


def check_lengths(lengths: Tensor, particles: int, pairs: int) -> None:
    """Refuse lengths of jets that are not those of so many particles and pairs: as far is memory read."""
    check_tensor(WHERE, "lengths", lengths, torch.int64)
    wanted = int(lengths.sum()), int(pairs_of(lengths).sum())
    if (particles, pairs) != wanted or (lengths < 0).any() or (lengths > MOST).any():
        problem = f"ask for {wanted[0]} particles and {wanted[1]} pairs of jets of {MOST} at most"
        raise InputError(WHERE, "lengths", f"{problem}; {particles} and {pairs} are given")


def _check_weights(weights: Tensor, shapes: Tensor, dtype: torch.dtype, norms: int) -> None:
    """Compiled code reads as far as shapes say: matrices, offsets, and so many weights of norms."""
    wanted = multiplications(shapes) * dtype.itemsize // 4 + int(shapes[:, 1].sum()) + norms
    if len(weights) != wanted:
        problem = f"are {len(weights)} of 32 bits, not the {wanted} that their shapes ask for"
        raise InputError(WHERE, "weights", problem)


def multiplications(shapes: Tensor) -> int:
    """Of one particle by matrices of such inputs, outputs and ranks."""
    inputs, outputs, rank = shapes.long().unbind(1)
    return int(torch.where(rank == 0, inputs * outputs, rank * (inputs + outputs)).sum())


def starts_of(counts: Tensor) -> Tensor:
    """Where the rows of each jet begin, one behind the other, and where the last ones end."""
    return functional.pad(counts.cumsum(0), (1, 0))


def pairs_of(lengths: Tensor) -> Tensor:
    """Pairs of jets of so many particles, each once, a particle with itself too."""
    return lengths * (lengths + 1) // 2


@register_flop_formula(torch.ops.softjet.particle_blocks, get_raw=True)
def _flops(*given: Any, **_: Any) -> float:
    """Of matrices and of attention, a multiplication and an addition two."""
    x, _pairs, lengths, _weights, shapes, depth, _heads, _hidden = given
    return flops(lengths, x.shape[1], depth, multiplications(shapes))


def flops(lengths: Tensor, width: int, depth: int, matrices: int) -> float:
    """Of jets of so many particles, each of which matrices multiply so many times; an addition is one too."""
    attention = 2 * depth * width * float(lengths.double().square().sum())
    return 2 * (float(lengths.sum()) * matrices + attention)


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
