"""What the training of a language model begins with: its weights, fitted to the task."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from softjet.config.language import Family, TaskName
from softjet.errors import InputError
from softjet.language.classes import order_classes
from softjet.language.glue import TASKS, number_of_classes
from softjet.language.models import load_model, new_model

log = logging.getLogger(__name__)

NO_TOKENS = {"bert": 0, "mpnet": 2, "gpt2": 0}
"""Rows that no token gets, of the families with a table of positions."""

PADDING: Mapping[Family, Literal[0, 1]] = {"mpnet": 1}
"""Token of a tokenizer trained here that stands for nothing else than padding, where it is not the end of
text: MPNet takes 1 for padding, whatever its configuration says."""


def start_model(
    family: Family,
    task: TaskName,
    length: int,
    seed: int,
    weights: str | Path | None = None,
    architecture: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """Model before its training on a task, loaded or new.

    Parameters
    ----------
    family, task : str
    length : int
        Most tokens that the task gives it at a time.
    seed : int
        Seed of the weights that no file holds.
    weights : path, optional
        Folder of :func:`softjet.language.load_model`; classes that it numbers otherwise than the task does
        are reordered.
    architecture : mapping, optional
        For a model without them, see :func:`softjet.language.new_model`.

    Raises
    ------
    InputError
        See `load_model` and `new_model`; or the model has no positions for this length.
    """
    labels = number_of_classes(task)
    if weights is None:
        model = new_model(family, architecture or {}, seed, labels)
    else:
        model = load_model(weights, family, labels, seed)
        if task in TASKS:
            order_classes(model, TASKS[task].classes, weights)
    _check_length(length, family, getattr(model.config, "max_position_embeddings", None))
    return model


def take_padding(model: PreTrainedModel, family: Family, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let a new model take what its tokenizer pads with for padding, in its configuration.

    Raises
    ------
    InputError
        The family has a token of its own for that, and the tokenizer another.
    """
    pad, own = tokenizer.pad_token_id, PADDING.get(family)
    if own is not None and pad != own:
        problem = f"is token {pad}, and {family} takes {own} for it; give its own tokenizer, or none"
        raise InputError("tokenizer", "pad_token", problem)
    # GPT-2 makes no use of it, and would look for it at each call without a mask: 3 % of a small one's time.
    if pad is not None and family != "gpt2":
        model.config.pad_token_id = pad


def _check_length(length: int, family: Family, positions: int | None) -> None:
    """Refuse, or where positions are computed warn of, a length that a model has no positions for."""
    most = None if positions is None else positions - NO_TOKENS.get(family, 0)
    if most is None or length <= most:
        return
    if family in NO_TOKENS:
        problem = (
            f"is {length}, and the model ({family}) has {most} positions; lower it, or give another model"
        )
        raise InputError("task", "length", problem)
    log.warning("task: length: is %d, and the model (%s) is made for %d positions", length, family, most)
