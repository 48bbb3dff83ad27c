"""Distillation: the dense model's answer as a part of the loss."""

import copy
import hashlib
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from softjet.errors import InputError

Loss = Callable[[Any, Any], Tensor]
"""From the model and a batch to a scalar."""


def with_teacher(model: nn.Module, loss: Loss, answer: Loss | None, share: float) -> Loss:
    """Mix a task loss with the divergence from what the model answers now, before it is compressed.

    (1 - share) task + share KL(teacher || model), in nats a row, where the teacher is a frozen copy of the
    model in evaluation mode. It holds the dense weights a second time, and each step runs the model once for
    the task and once for the answer; with a share of 1 the task is not computed.

    Parameters
    ----------
    model : nn.Module
        Dense.
    loss : callable
        From a model and a batch to the task loss, a scalar.
    answer : callable, optional
        From a model and a batch to logits, shape (rows, classes).
    share : float
        Between 0 (the task alone, no teacher) and 1.

    Returns
    -------
    callable
        The loss to train on, with the arguments of `loss`.

    Raises
    ------
    InputError
        A share above 0 without `answer`.

    References
    ----------
    Hinton, Vinyals, Dean (arXiv 1503.02531), at temperature 1.
    """
    if share == 0:
        return loss
    if answer is None:
        raise InputError(
            "rank learning", "distillation", "needs the model's logits; pass answer, or set it to 0"
        )
    teacher = copy.deepcopy(model).eval().requires_grad_(False)

    def mixed(student: Any, batch: Any) -> Tensor:
        with torch.no_grad():
            target = functional.log_softmax(answer(teacher, batch), dim=-1)
        own = functional.log_softmax(answer(student, batch), dim=-1)
        divergence = functional.kl_div(own, target, log_target=True, reduction="batchmean")
        return divergence if share == 1 else (1 - share) * loss(student, batch) + share * divergence

    return mixed


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
