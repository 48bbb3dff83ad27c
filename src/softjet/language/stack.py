"""A few layers of a transformer of any shape on random tokens, for measurements of time and memory."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from softjet.config.language import Family
from softjet.language.models import new_model


def new_stack(family: Family, architecture: Mapping[str, Any], precision: str = "float32") -> PreTrainedModel:
    """Model with random weights that keeps nothing of a token for the next; see `new_model`."""
    model = new_model(family, architecture, seed=1).to(getattr(torch, precision))
    model.config.use_cache = False
    return model


def random_ids(model: PreTrainedModel, batch: int, tokens: int) -> torch.Tensor:
    """Tokens of the model's vocabulary, int64 (batch, tokens)."""
    return torch.randint(model.config.vocab_size, (batch, tokens))


def states(ids: torch.Tensor, model: PreTrainedModel) -> object:
    """States after the last layer, without what comes behind."""
    return model.base_model(ids)


@torch.inference_mode()
def run_stack(family: Family, architecture: Mapping[str, Any], batch: int, tokens: int) -> None:
    """Make a stack and run it once."""
    model = new_stack(family, architecture)
    states(random_ids(model, batch, tokens), model)
