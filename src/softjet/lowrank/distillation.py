"""Distillation: what the dense model answers, and what its blocks put out, as a part of the loss."""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from softjet.config.lowrank import Recipe
from softjet.errors import InputError

Loss = Callable[[Any, Any], Tensor]
"""From the model and a batch to a scalar."""

ROUNDING = 1e-10
"""Share of a block's sum of squares below which its variance is but rounding of the mean."""


def has_teacher(settings: Recipe) -> bool:
    """Whether a recipe holds the model to the dense one."""
    return settings.distillation > 0 or settings.imitation > 0


def with_teacher(
    model: nn.Module, loss: Loss, answer: Loss | None, settings: Recipe, blocks: Sequence[str] = ()
) -> Loss:
    """Make what the model answers and passes on now, before it is compressed, a part of the loss.

    (1 - d) task + d KL(teacher || model) + i miss, where d is `distillation`, i is `imitation`, the
    divergence is in nats a row, and the teacher a frozen copy of the model in evaluation mode. The miss is of
    the outputs of the blocks, :func:`missed`. The copy holds the dense weights a second time and runs at each
    step; for the divergence the model runs once more too. With d = 1 the task is not computed.

    Parameters
    ----------
    model : nn.Module
        Dense.
    loss : callable
        From a model and a batch to the task loss, a scalar.
    answer : callable, optional
        From a model and a batch to logits, shape (rows, classes); needed for `distillation`.
    settings : Recipe
        Where `distillation` and `imitation` are 0 there is no teacher.
    blocks : sequence of str
        Paths of the blocks whose outputs are imitated.

    Returns
    -------
    callable
        The loss to train on, with the arguments of `loss`.

    Raises
    ------
    InputError
        `distillation` without `answer`, `imitation` without blocks; when the loss is taken, `imitation` of
        blocks that are never called, or whose outputs in training have no counterpart in evaluation
        (Particle Transformer's, which works on rows).

    References
    ----------
    Hinton, Vinyals, Dean (arXiv 1503.02531), at temperature 1; the outputs of blocks as in TinyBERT
    (arXiv 1909.10351), here relative to their variance.
    """
    if not has_teacher(settings):
        return loss
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    answered = _with_answers(teacher, loss, answer, settings.distillation)
    if settings.imitation == 0:
        return answered
    if not blocks:
        raise InputError("rank learning", "imitation", "needs blocks, and there are none; set it to 0")

    def imitating(student: Any, batch: Any) -> Tensor:
        with outputs_of(student, blocks) as own, outputs_of(teacher, blocks) as wanted:
            value = answered(student, batch)
            if answered is loss:
                _see(teacher, batch, loss)
        _check(own, wanted, blocks)
        return value + settings.imitation * missed(own, wanted)

    return imitating


def _with_answers(teacher: nn.Module, loss: Loss, answer: Loss | None, share: float) -> Loss:
    if share == 0:
        return loss
    if answer is None:
        raise InputError(
            "rank learning", "distillation", "needs the model's logits; pass answer, or set it to 0"
        )

    def mixed(student: Any, batch: Any) -> Tensor:
        target = functional.log_softmax(_see(teacher, batch, answer), dim=-1)
        own = functional.log_softmax(answer(student, batch), dim=-1)
        divergence = functional.kl_div(own, target, log_target=True, reduction="batchmean")
        return divergence if share == 1 else (1 - share) * loss(student, batch) + share * divergence

    return mixed


def _check(own: Mapping[str, Tensor], wanted: Mapping[str, Tensor], blocks: Sequence[str]) -> None:
    """Refuse blocks that a model runs otherwise than by a call, or in training on other rows."""
    for block in blocks:
        if block not in own and block not in wanted:
            problem = f"needs {block} to be called as a module, and the model never does; set it to 0"
            raise InputError("rank learning", "imitation", problem)
        if block not in own or block not in wanted or own[block].shape != wanted[block].shape:
            problem = f"needs {block} to put out in training what it does in evaluation; set it to 0"
            raise InputError("rank learning", "imitation", problem)


@torch.no_grad()
def _see(teacher: nn.Module, batch: Any, asked: Loss) -> Tensor:
    return asked(teacher, batch)


@contextmanager
def outputs_of(model: nn.Module, blocks: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Note what blocks put out while the model runs.

    Parameters
    ----------
    model : nn.Module
        Dense, learning or fused.
    blocks : sequence of str
        Their paths; of a block that puts out several tensors the first counts.

    Yields
    ------
    dict of str to Tensor
        By path, of the last run; filled while the context lasts.
    """
    found: dict[str, Tensor] = {}

    def noting(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_: nn.Module, __: Any, output: Any) -> None:
            found[path] = output if isinstance(output, Tensor) else output[0]

        return note

    hooks = [model.get_submodule(path).register_forward_hook(noting(path)) for path in blocks]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def missed(own: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Share of the variance of a teacher's outputs that a student's miss, mean over the blocks.

    Of a block sum (h - t)^2 / sum (t - mean t)^2, in float32, where t is the teacher's and the mean that of
    each feature over all places (padding too, where there is any): 0 is the teacher itself, 1 no better than
    its mean. A block whose outputs are all alike, as those of one place are, counts as met.

    Parameters
    ----------
    own, wanted : mapping of str to Tensor
        Outputs by block, shape (..., features), of the student and of the teacher.
    """
    shares = []
    for block, target in wanted.items():
        rows = target.float().flatten(0, -2)
        spread = (rows - rows.mean(dim=0)).square().sum()
        varies = spread > ROUNDING * rows.square().sum()
        miss = (own[block].float().flatten(0, -2) - rows).square().sum()
        shares.append(torch.where(varies, miss, 0.0) / torch.where(varies, spread, 1.0))
    return torch.stack(shares).mean()


def digest_of(model: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and values of a model's parameters and buffers.

    Parameters
    ----------
    model : nn.Module
        On any device.
    """
    digest = hashlib.sha256()
    for name, value in chain(model.named_parameters(), model.named_buffers()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        # Bytes are seen through a copy: a tensor of one value passes for contiguous whatever its strides.
        plain = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
