"""Logits of any number of jets, in batches of jets of near-equal length."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from softjet.device import autocast, device_of_model
from softjet.part.lanes import side_by_side
from softjet.part.model import ParticleTransformer


class JetBatch(Protocol):
    """A batch of B jets of up to P particles (softjet.jets.batches.Batch)."""

    @property
    def features(self) -> Tensor:
        """Shape (B, F, P)."""

    @property
    def vectors(self) -> Tensor:
        """Shape (B, 4, P): px, py, pz and energy in GeV."""

    @property
    def mask(self) -> Tensor:
        """Bool, shape (B, 1, P): true for a particle."""

    @property
    def labels(self) -> Tensor:
        """Int64, shape (B,)."""

    @property
    def rows(self) -> Tensor:
        """Int64, shape (B,): each jet's row in the table."""


class Evaluation(Protocol):
    """Whatever gives every jet once, in batches."""

    def evaluation(self, share: tuple[int, int] = ...) -> Iterator[JetBatch]:
        """Batches that hold every jet once, or those of this share (a process and their number)."""


def at_a_time(device: torch.device) -> int:
    """Jets a batch that a device answers fastest: few, so that all stays in a core's cache, or many.

    Parameters
    ----------
    device : torch.device
        The model's.
    """
    return 32 if device.type == "cpu" else 512


@torch.inference_mode()
def predict(
    model: ParticleTransformer,
    features: Tensor,
    vectors: Tensor,
    mask: Tensor,
    batch_size: int | None = None,
    precision: str = "auto",
) -> Tensor:
    """Logits of jets, in evaluation mode; the model's own mode is restored.

    Jets are sorted by the place of their last particle and trimmed to the longest of their batch, so that
    little is computed on padding; the order of the answer is that of the input.

    Parameters
    ----------
    model : ParticleTransformer
    features : Tensor, shape (N, F, P)
    vectors : Tensor, shape (N, 4, P)
        px, py, pz and energy in GeV.
    mask : Tensor, bool, shape (N, 1, P)
        True for a particle.
    batch_size : int, optional
        Jets at a time; by default `at_a_time` of the model's device.
    precision : "auto", "float32" or "bfloat16"
        See `softjet.device.autocast`.

    Returns
    -------
    Tensor, float32, shape (N, C)
    """
    extent = (mask[:, 0] * torch.arange(1, mask.shape[-1] + 1, device=mask.device)).amax(1)
    order = extent.argsort(stable=True)
    logits = features.new_empty(len(order), model.config.classes)
    device = device_of_model(model)

    @torch.inference_mode()
    def answer(rows: Tensor) -> tuple[Tensor, Tensor]:
        batch = (tensor[rows, :, : int(extent[rows[-1]])] for tensor in (features, vectors, mask))
        with autocast(precision, device.type):
            return rows, model(*(tensor.to(device) for tensor in batch))

    with _evaluating(model):
        # Long ones first, so that no core is left with one at the end.
        batches = order.split(batch_size or at_a_time(device))
        for rows, found in side_by_side(answer, reversed(batches), device):
            logits[rows] = found.to(logits)
    return logits


@torch.inference_mode()
def predict_loader(
    model: ParticleTransformer,
    loader: Evaluation,
    precision: str = "auto",
    share: tuple[int, int] = (0, 1),
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a loader's jets, in evaluation mode; the model's own mode is restored.

    Parameters
    ----------
    model : ParticleTransformer
    loader : Evaluation
    precision : "auto", "float32" or "bfloat16"
        See `softjet.device.autocast`.
    share : (int, int)
        Which of how many shares of the jets.

    Returns
    -------
    logits : Tensor, float32, shape (N, C)
    labels : Tensor, int64, shape (N,)
    rows : Tensor, int64, shape (N,)
        In increasing order.
    """
    answer = partial(_answer, model, precision)
    with _evaluating(model):
        parts = list(side_by_side(answer, loader.evaluation(share), device_of_model(model)))
    logits, labels, rows = map(torch.cat, zip(*parts, strict=True))
    order = rows.argsort()
    return logits[order], labels[order], rows[order]


@torch.inference_mode()
def _answer(model: nn.Module, precision: str, batch: JetBatch) -> tuple[Tensor, Tensor, Tensor]:
    device = device_of_model(model)
    inputs = (tensor.to(device) for tensor in (batch.features, batch.vectors, batch.mask))
    with autocast(precision, device.type):
        return model(*inputs).float().cpu(), batch.labels, batch.rows


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
