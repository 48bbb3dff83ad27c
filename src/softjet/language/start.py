"""What the training of a language model begins with: its weights, fitted to the task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from softjet.config.language import Family, TaskName
from softjet.language.classes import order_classes
from softjet.language.glue import TASKS, number_of_classes
from softjet.language.models import load_model, new_model


def start_model(
    family: Family,
    task: TaskName,
    seed: int,
    weights: str | Path | None = None,
    architecture: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """Model before its training on a task, loaded or new.

    Parameters
    ----------
    family, task : str
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
        See `load_model` and `new_model`.
    """
    labels = number_of_classes(task)
    if weights is None:
        return new_model(family, architecture or {}, seed, labels)
    model = load_model(weights, family, labels, seed)
    if task in TASKS:
        order_classes(model, TASKS[task].classes, weights)
    return model
