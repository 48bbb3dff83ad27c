"""Classes of a classifier, by their names rather than by their numbers."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

log = logging.getLogger(__name__)

_UNNAMED = re.compile(r"label_\d+")


@torch.no_grad()
def order_classes(model: PreTrainedModel, classes: Sequence[str], where: object) -> None:
    """Number the classes of a classifier as its task does.

    Checkpoints of one task number its classes differently, and a label is a number. Rows of the last layer
    are moved where the model names the same classes, in whatever case. Classes without names (LABEL_0) are
    taken as they are, and so are other names, which a warning tells.

    Parameters
    ----------
    model : PreTrainedModel
        Has as many classes, and a `classifier`.
    classes : sequence of str
        Names of the task's classes in the order of their numbers.
    where : object
        What the model was loaded from, for the warning.
    """
    names: Mapping[Any, str] = model.config.id2label or {}
    own = [_plain(names.get(number)) for number in range(len(classes))]
    wanted = [_plain(name) for name in classes]
    if own == wanted or all(map(_UNNAMED.fullmatch, own)):
        return
    if sorted(own) != sorted(wanted):
        listed = (", ".join(map(str, these)) for these in (names.values(), classes))
        log.warning("%s: id2label: names %s, taken for %s in this order", where, *listed)
        return
    _move_rows(model, [own.index(name) for name in wanted])
    model.config.id2label = dict(enumerate(classes))
    model.config.label2id = {name: number for number, name in enumerate(classes)}


def _plain(name: object) -> str:
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def _move_rows(model: PreTrainedModel, order: Sequence[int]) -> None:
    layers = model.get_submodule("classifier").modules()
    *_, last = (layer for layer in layers if isinstance(layer, nn.Linear))
    for parameter in last.parameters():
        parameter.copy_(parameter[list(order)])
