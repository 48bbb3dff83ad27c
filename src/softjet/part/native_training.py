"""Training with the particle blocks as compiled functions, which keep a few jets in a core's cache."""

import ctypes
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from softjet.config.part import Training
from softjet.device import chosen_precision, device_of_model
from softjet.errors import InputError
from softjet.part.blocks import Block, ClassBlock
from softjet.part.compiling import check_memory, check_tensor, compiled
from softjet.part.model import ParticleTransformer
from softjet.part.native import MOST, WHERE, check_lengths, flops, pairs_of, sizes_of, starts_of
from softjet.part.native_pairs import CompiledPairEmbedding
from softjet.part.native_tokens import library as token_library
from softjet.part.native_tokens import passed_token

log = logging.getLogger("softjet")


class CompiledTraining:
    """The blocks of a model as compiled functions that are differentiable.

    For a processor with AVX-512 (bfloat16: AVX512-BF16) and a C compiler. Particles go through the blocks
    without padding, a few jets at a time and a share of the jets on each thread; norms, GELU and attention
    weights are computed again for the gradients, so that less is kept than PyTorch keeps. In bfloat16 only
    what is multiplied is rounded: sums, norms, softmax and what is added to are float32, as are gradients.

    The same jets on the same number of threads give the same bits.

    Parameters
    ----------
    model : ParticleTransformer
        Dense, without dropout, its heads 16 channels wide, and 64 a divisor of its width, as published. Its
        parameters are read at every call.
    bfloat16 : bool
        Products of bfloat16, not float32.

    Raises
    ------
    InputError
        A shape or a processor that this is not made for; dropout; no compiler.
    """

    def __init__(self, model: ParticleTransformer, bfloat16: bool) -> None:
        self._sizes = width, heads, _ = sizes_of(model)
        _check_dense(model)
        if model.config.dropout:
            raise InputError(WHERE, "dropout", "is not 0; do without")
        if model.config.max_particles > MOST:
            problem = f"is {model.config.max_particles}, more than {MOST}; do without"
            raise InputError(WHERE, "max_particles", problem)
        self._model, self._bfloat16 = model, bfloat16
        library(*self._sizes, bfloat16)
        token_library(width, heads)
        self._embed_pairs = _pair_embedding(model, bfloat16)

    def __call__(self, rows: Tensor, pairs: Tensor, lengths: Tensor) -> Tensor:
        """As `tokens`, of pairs given by their features, shape (n_pairs, 4)."""
        return self.tokens(rows, self._embed_pairs(pairs), lengths)

    def tokens(self, rows: Tensor, pairs: Tensor, lengths: Tensor) -> Tensor:
        """Take jets through all blocks.

        Parameters
        ----------
        rows : Tensor, shape (n, W)
            Embedded particles of all jets end to end.
        pairs : Tensor, shape (n_pairs, H)
            Embedded pairs, the bias of attention.
        lengths : Tensor, int64, shape (B,)
            Particles of each jet, MOST at most.

        Returns
        -------
        Tensor, shape (B, W)
            Class tokens.
        """
        heads, hidden = self._sizes[1:]
        given = rows.float(), pairs.float(), lengths, self.parameters()
        rows = blocks_forward(*given, heads, hidden, self._bfloat16)[0]
        token = self._model.class_token[0].expand(len(lengths), -1)
        starts = starts_of(lengths)
        for block in self._model.class_blocks:
            assert isinstance(block, ClassBlock)
            token = passed_token(block, token, rows, starts)
        return token

    def parameters(self) -> Tensor:
        """Parameters of the particle blocks, as :func:`blocks_forward` wants them."""
        return torch.stack([torch.cat(_parameters(block)) for block in self._model.blocks])


def _pair_embedding(model: ParticleTransformer, bfloat16: bool) -> Callable[[Tensor], Tensor]:
    """Compiled where it can be: not for every width and normalisation that the blocks take."""
    try:
        return CompiledPairEmbedding(model.pair_embed, torch.bfloat16 if bfloat16 else torch.float32)
    except InputError as error:
        log.info("pair embedding by PyTorch: %s", error)
        return model.pair_embed


def _check_dense(model: ParticleTransformer) -> None:
    places = ("attention.in_proj", "attention.out_proj", "expand", "contract")
    for block in (*model.blocks, *model.class_blocks):
        if any(type(block.get_submodule(place)) is not nn.Linear for place in places):
            raise InputError(WHERE, "model", "has factored matrices; do without")


def compile_for(model: ParticleTransformer, training: Training) -> None:
    """Let a model be trained by compiled blocks, where its training asks for them and they can be had.

    Parameters
    ----------
    model : ParticleTransformer
        On the device that it is trained on.
    training : Training
        With `blocks: auto` the log says why they could not be.

    Raises
    ------
    InputError
        With `blocks: compiled`: as of :class:`CompiledTraining`, or the device is a GPU.
    """
    model.compiled = None
    if training.blocks == "pytorch" or (training.blocks == "auto" and device_of_model(model).type != "cpu"):
        return
    try:
        if device_of_model(model).type != "cpu":
            raise InputError("training", "blocks", "compiled ones are for a processor: give auto or pytorch")
        precision = chosen_precision(training.precision)
        model.compiled = CompiledTraining(model, precision == "bfloat16")
        log.info("blocks compiled for the processor, %s", precision)
    except InputError as error:
        if training.blocks == "compiled":
            raise
        log.info("blocks by PyTorch: %s", error)


def _parameters(block: Any) -> list[Tensor]:
    """Parameters of a block in the order of `blocks_training.c`."""
    assert isinstance(block, Block)
    scale = block.head_scale.repeat_interleave(len(block.residual_scale) // len(block.head_scale))
    out = block.attention.out_proj
    parts: list[Tensor] = [*block.attention_norm.parameters(), *block.attention.in_proj.parameters()]
    parts += [out.weight * scale[:, None], out.bias * scale]
    for module in (block.branch_norm, block.feed_norm, block.expand, block.hidden_norm, block.contract):
        parts += module.parameters()
    return [part.flatten() for part in (*parts, block.residual_scale)]


def library(width: int, heads: int, hidden: int, bfloat16: bool) -> ctypes.CDLL:
    """Compile `blocks_training.c` for a shape, once a process.

    Parameters
    ----------
    width, heads, hidden : int
        Of the blocks.
    bfloat16 : bool
        Products of bfloat16.

    Raises
    ------
    InputError
        There is no compiler, or it cannot compile this for the processor.
    """
    made = compiled("blocks_training.c", bfloat16, W=width, H=heads, F=hidden, MOST=MOST)
    pointer, small, large = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    jets = pointer, pointer, small, pointer, pointer, pointer, large, pointer, pointer, small
    made.blocks_forward.argtypes, made.blocks_backward.argtypes = jets, (*jets, pointer, pointer)
    made.pack_blocks.argtypes = [pointer, small, pointer]
    made.kept_bytes.argtypes = [large, small]
    for name in ("kept_bytes", "parameters_of_block", "packed_of_block"):
        getattr(made, name).restype = large
    return made


def _shares(lengths: Tensor, width: int) -> Tensor:
    """Jets of each thread, about as much work each: how many, and its first jet, particle and pair."""
    # Of a particle matrices 12 wide times wide, and attention over all others, which costs more a product.
    work = (lengths * (12 * width + 8 * lengths)).cumsum(0)
    threads = torch.get_num_threads()
    wanted = work[-1:] * torch.arange(1, threads) // threads
    inner = torch.searchsorted(work, wanted, right=True) if len(work) else wanted.new_zeros(threads - 1)
    ends = torch.cat((inner.new_zeros(1), inner, inner.new_full((1,), len(lengths))))
    before = [starts_of(counts)[ends[:-1]] for counts in (lengths, pairs_of(lengths))]
    return torch.stack((ends.diff(), ends[:-1], *before), dim=1)


@torch.library.custom_op("softjet::blocks_forward", mutates_args=())
def blocks_forward(
    x: Tensor, pairs: Tensor, lengths: Tensor, parameters: Tensor, heads: int, hidden: int, bfloat16: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Take particles through the blocks, and keep what gradients need.

    Parameters
    ----------
    x : Tensor, float32, shape (n, W)
    pairs : Tensor, float32, shape (n_pairs, H)
    lengths : Tensor, int64, shape (B,)
        See :meth:`CompiledTraining.tokens`.
    parameters : Tensor, float32, shape (blocks, parameters of one)
        In the order of `blocks_training.c`.
    heads, hidden : int
        H, and the width of the feed-forward layers.
    bfloat16 : bool
        Products of bfloat16.

    Returns
    -------
    out : Tensor, float32, shape (n, W)
    kept : Tensor, uint8
    packed : Tensor, int32
        Both for :func:`blocks_backward`.

    Raises
    ------
    InputError
        Lengths that are not those of the other arguments.
    MemoryError
        For want of memory.
    """
    for name, tensor in (("x", x), ("pairs", pairs), ("parameters", parameters)):
        check_tensor(WHERE, name, tensor, torch.float32)
    check_lengths(lengths, len(x), len(pairs))
    made, depth = library(x.shape[1], heads, hidden, bfloat16), len(parameters)
    if parameters.shape[1] != made.parameters_of_block():
        problem = f"are {parameters.shape[1]} a block, not {made.parameters_of_block()}"
        raise InputError(WHERE, "parameters", problem)
    out, pairs, lengths, parameters = (
        x.clone(memory_format=torch.contiguous_format),
        pairs.contiguous(),
        lengths.contiguous(),
        parameters.contiguous(),
    )
    packed = torch.empty(depth * made.packed_of_block(), dtype=torch.int32)
    kept = torch.empty(made.kept_bytes(len(x), depth), dtype=torch.uint8)
    check_memory(made.pack_blocks(parameters.data_ptr(), depth, packed.data_ptr()), WHERE)
    shares = _shares(lengths, x.shape[1])
    check_memory(made.blocks_forward(*_given(parameters, packed, out, pairs, lengths, kept, shares)), WHERE)
    return out, kept, packed


@torch.library.custom_op("softjet::blocks_backward", mutates_args=())
def blocks_backward(
    upstream: Tensor,
    pairs: Tensor,
    lengths: Tensor,
    parameters: Tensor,
    kept: Tensor,
    packed: Tensor,
    heads: int,
    hidden: int,
    bfloat16: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of what :func:`blocks_forward` was given.

    Parameters
    ----------
    upstream : Tensor, float32, shape (n, W)
        Gradients of its result.
    pairs, lengths, parameters, heads, hidden, bfloat16
        As it was given them.
    kept, packed : Tensor
        As it gave them.

    Returns
    -------
    of_x, of_pairs, of_parameters : Tensor, float32, shapes (n, W), (n_pairs, H), (blocks, parameters of one)

    Raises
    ------
    MemoryError
        For want of memory.
    """
    made = library(upstream.shape[1], heads, hidden, bfloat16)
    of_x, pairs, lengths, parameters = (
        upstream.clone(memory_format=torch.contiguous_format),
        pairs.contiguous(),
        lengths.contiguous(),
        parameters.contiguous(),
    )
    shares, of_pairs = _shares(lengths, upstream.shape[1]), torch.empty_like(pairs)
    sums = parameters.new_zeros(len(shares), *parameters.shape)
    given = _given(parameters, packed, of_x, pairs, lengths, kept, shares)
    check_memory(made.blocks_backward(*given, of_pairs.data_ptr(), sums.data_ptr()), WHERE)
    return of_x, of_pairs, sums.sum(0)


def _given(
    parameters: Tensor,
    packed: Tensor,
    x: Tensor,
    pairs: Tensor,
    lengths: Tensor,
    kept: Tensor,
    shares: Tensor,
) -> tuple[int, ...]:
    """Arguments of the compiled functions."""
    weights = parameters.data_ptr(), packed.data_ptr(), len(parameters)
    jets = x.data_ptr(), pairs.data_ptr(), lengths.data_ptr(), len(x)
    return *weights, *jets, kept.data_ptr(), shares.data_ptr(), len(shares)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)  # what is kept has none
    _x, *tensors, heads, hidden, bfloat16 = inputs
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.about = heads, hidden, bfloat16


def _backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    of_x, of_pairs, of_parameters = blocks_backward(upstream, *ctx.saved_tensors, *ctx.about)
    return of_x, of_pairs, None, of_parameters, None, None, None


blocks_forward.register_autograd(_backward, setup_context=_keep)


@register_flop_formula(torch.ops.softjet.blocks_forward, get_raw=True)
def _forward_flops(*given: Any, **_: Any) -> float:
    """Of matrices and of attention, a multiplication and an addition two."""
    x, _pairs, lengths, parameters, _heads, hidden, _bfloat16 = given
    return _flops(lengths, x.shape[1], hidden, len(parameters))


@register_flop_formula(torch.ops.softjet.blocks_backward, get_raw=True)
def _backward_flops(*given: Any, **_: Any) -> float:
    """Twice those of forward: what is computed again does not count."""
    upstream, _pairs, lengths, parameters, _kept, _packed, _heads, hidden, _bfloat16 = given
    return 2 * _flops(lengths, upstream.shape[1], hidden, len(parameters))


def _flops(lengths: Tensor, width: int, hidden: int, depth: int) -> float:
    return flops(lengths, width, depth, depth * (4 * width * width + 2 * width * hidden))
