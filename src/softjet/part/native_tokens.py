"""Class tokens in training, whose attention is a compiled function without padding, keys and values."""

import ctypes
import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from softjet.part.blocks import ClassBlock
from softjet.part.compiling import check_memory, check_tensor, compiled

WHERE = "attention of class tokens"
"""In errors."""


def passed_token(block: ClassBlock, token: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
    """Take class tokens through a block, as `ClassBlock.forward` does.

    Parameters
    ----------
    block : ClassBlock
        Dense, 64 a divisor of its width.
    token : Tensor, shape (B, W)
    rows : Tensor, float32, shape (n, W)
        Particles of all jets end to end.
    starts : Tensor, int64, shape (B + 1,)
        Where the particles of each jet begin, and the last ones end.

    Returns
    -------
    Tensor, shape (B, W)
    """
    attention, norm = block.attention, block.attention_norm
    asking, source, values = attention.in_proj.weight.unflatten(0, (3, attention.heads, -1))
    biases = attention.in_proj.bias.unflatten(0, (3, attention.heads, -1))
    query = torch.einsum("bw,hdw->bhd", token, asking) + biases[0]
    # A key's bias is the same for all of a jet's particles, and so makes no difference.
    asked = torch.einsum("bhd,hdw->bhw", query, source) / math.sqrt(query.shape[-1])
    affine = torch.stack((norm.weight, norm.bias))
    given = token_attention(rows, norm(token).float(), affine, asked.float(), starts)[0]
    mixed = torch.einsum("bhw,hdw->bhd", given, values) + biases[2]
    return block.add_feed_forward(block.add_attention(token, attention.out_proj(mixed.flatten(1))))


class _Given(ctypes.Structure):
    """Jets as `tokens_training.c` is given them."""

    _fields_ = (
        ("x", ctypes.c_void_p),
        ("tokens", ctypes.c_void_p),
        ("norm", ctypes.c_void_p),
        ("asked", ctypes.c_void_p),
        ("starts", ctypes.c_void_p),
        ("jets", ctypes.c_int),
        ("most", ctypes.c_int),
    )


def library(width: int, heads: int) -> ctypes.CDLL:
    """Compile `tokens_training.c` for a shape, once a process.

    Raises
    ------
    InputError
        There is no compiler, or it cannot compile this for the processor.
    """
    made = compiled("tokens_training.c", False, W=width, H=heads)
    pointer, small = ctypes.c_void_p, ctypes.c_int
    made.tokens_forward.argtypes = [_Given, pointer, pointer, small]
    made.tokens_backward.argtypes = [_Given, *[pointer] * 7, small]
    return made


@torch.library.custom_op("softjet::token_attention", mutates_args=())
def token_attention(
    x: Tensor, tokens: Tensor, norm: Tensor, asked: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor]:
    """Attention of one query a head over the particles of a jet and its class token.

    Parameters
    ----------
    x : Tensor, float32, shape (n, W)
        Particles of all jets end to end, before the norm.
    tokens : Tensor, float32, shape (B, W)
        Class tokens behind the norm.
    norm : Tensor, float32, shape (2, W)
        Its weights and biases.
    asked : Tensor, float32, shape (B, H, W)
        What logits are products with.
    starts : Tensor, int64, shape (B + 1,)
        Where the particles of each jet begin, and the last ones end.

    Returns
    -------
    given : Tensor, float32, shape (B, H, W)
        Sums of particles and token behind the norm, weighted by the softmax of their logits.
    log_sums : Tensor, float32, shape (B, H)
        Logarithms of the sums of the exponentials of the logits.

    Raises
    ------
    ValueError
        `starts` that are not those of the other arguments.
    MemoryError
        For want of memory.
    """
    for name, tensor in (("x", x), ("tokens", tokens), ("norm", norm), ("asked", asked)):
        check_tensor(WHERE, name, tensor, torch.float32)
    check_tensor(WHERE, "starts", starts, torch.int64)
    lengths, ends = starts.diff(), (int(starts[0]), int(starts[-1]))
    if len(lengths) != len(asked) or ends != (0, len(x)) or (lengths < 0).any():
        raise ValueError(f"starts {starts.tolist()} of {len(asked)} jets with {len(x)} particles")
    jets, held = _given(x, tokens, norm, asked, starts)
    given, log_sums = torch.empty_like(held[3]), asked.new_empty(asked.shape[:2])
    made = library(x.shape[1], asked.shape[1])
    check_memory(
        made.tokens_forward(jets, given.data_ptr(), log_sums.data_ptr(), torch.get_num_threads()), WHERE
    )
    return given, log_sums


@torch.library.custom_op("softjet::token_attention_backward", mutates_args=())
def token_attention_backward(
    upstream: Tensor,
    x: Tensor,
    tokens: Tensor,
    norm: Tensor,
    asked: Tensor,
    starts: Tensor,
    given: Tensor,
    log_sums: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of what :func:`token_attention` was given.

    Parameters
    ----------
    upstream : Tensor, float32, shape (B, H, W)
        Gradients of `given`.
    x, tokens, norm, asked, starts : Tensor
        As it was given them.
    given, log_sums : Tensor
        As it gave them.

    Returns
    -------
    of_x, of_tokens, of_norm, of_asked : Tensor, float32
        Of the shapes of what they are gradients of.

    Raises
    ------
    MemoryError
        For want of memory.
    """
    jets, held = _given(x, tokens, norm, asked, starts)
    of_x, of_tokens, of_asked = (torch.empty_like(each) for each in (held[0], held[1], held[3]))
    threads, upstream = torch.get_num_threads(), upstream.contiguous()
    of_norm = x.new_zeros(threads, 2, x.shape[1])
    tensors = given, log_sums, upstream, of_x, of_tokens, of_asked, of_norm
    made = library(x.shape[1], asked.shape[1])
    check_memory(made.tokens_backward(jets, *(tensor.data_ptr() for tensor in tensors), threads), WHERE)
    return of_x, of_tokens, of_norm.sum(0), of_asked


def _given(
    x: Tensor, tokens: Tensor, norm: Tensor, asked: Tensor, starts: Tensor
) -> tuple[_Given, list[Tensor]]:
    """Arguments of the compiled functions, and the tensors that they point into."""
    held = [tensor.contiguous() for tensor in (x, tokens, norm, asked, starts)]
    most = int(starts.diff().max()) if len(asked) else 0
    return _Given(*(tensor.data_ptr() for tensor in held), len(asked), most), held


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)  # what is kept has none
    ctx.save_for_backward(*inputs, *output)


def _backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return *token_attention_backward(upstream, *ctx.saved_tensors), None


token_attention.register_autograd(_backward, setup_context=_keep)


@register_flop_formula(torch.ops.softjet.token_attention, get_raw=True)
def _forward_flops(*given: Any, **_: Any) -> int:
    """Of logits and sums, a multiplication and an addition two."""
    x, tokens, _norm, asked, _starts = given
    return 4 * (len(x) + len(tokens)) * asked.shape[1] * asked.shape[2]


@register_flop_formula(torch.ops.softjet.token_attention_backward, get_raw=True)
def _backward_flops(*given: Any, **_: Any) -> int:
    """Twice those of forward: what is computed again does not count."""
    _upstream, *forward = given
    return 2 * _forward_flops(*forward[:5])
