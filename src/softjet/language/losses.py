"""Loss and answer of a transformer, the same functions for classifiers and for language models."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from softjet.device import device_of_model
from softjet.language.batch import NOT_SCORED, Batch


def task_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy of a batch, a scalar in float32.

    Parameters
    ----------
    model : nn.Module
        As transformers': a sequence classifier for labels (B,), a language model for labels (B, T).
    batch : Batch

    Returns
    -------
    Tensor
        Over examples; or over the tokens that are scored, each predicted from those before it.
    """
    logits, labels = _logits(model, batch), _targets(batch).to(device_of_model(model))
    return functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=NOT_SCORED)


def answer(model: nn.Module, batch: Batch) -> Tensor:
    """Logits, float32, of the examples of a batch, or of its scored tokens: (rows, C)."""
    logits = _logits(model, batch)
    if batch.labels.dim() == 1:
        return logits
    return logits[_targets(batch).to(logits.device) != NOT_SCORED]


def token_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Negative log-likelihood of each token but the first of each window, (B, T - 1); 0 where not scored."""
    logits, labels = _logits(model, batch), _targets(batch).to(device_of_model(model))
    return functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=NOT_SCORED, reduction="none")


def _targets(batch: Batch) -> Tensor:
    """Labels that the logits stand for: a token is predicted by the position before it."""
    return batch.labels if batch.labels.dim() == 1 else batch.labels[:, 1:]


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    """Logits of the targets, (B, C) or (B, T - 1, C)."""
    device = device_of_model(model)
    given: dict[str, Any] = {
        "input_ids": batch.input_ids.to(device),
        "attention_mask": batch.attention_mask.to(device),
    }
    config: Any = model.config
    if batch.token_type_ids is not None and getattr(config, "type_vocab_size", 0) > 1:
        given["token_type_ids"] = batch.token_type_ids.to(device)
    if batch.labels.dim() == 1:
        return model(**given).logits.float()
    return model(**given, use_cache=False).logits[:, :-1].float()
