"""From a selection in the configuration to the linear layers of a model."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from softjet.config.lowrank import Selection
from softjet.errors import InputError
from softjet.lowrank.layer import Factors, LowRankLinear, SoftThresholdLinear

LINEAR = (nn.Linear, SoftThresholdLinear, LowRankLinear)
"""The three states of a selected layer: dense, rank being learned, fused."""


class Place(NamedTuple):
    """A selected layer: its path, the block it lies in, its path within the block, and its pieces' names."""

    path: str
    stack: str
    block: int
    type: str
    pieces: tuple[str, ...]


def find_layers(model: nn.Module, selection: Selection) -> list[Place]:
    """Find the selected layers, in the order of the model.

    Parameters
    ----------
    model : nn.Module
        Dense, learning or fused.
    selection : Selection

    Raises
    ------
    InputError
        A path that names nothing, or something other than a linear layer, a layer outside all blocks, one
        named twice, or one whose outputs do not divide into its pieces.
    """
    modules = dict(model.named_modules())
    found: dict[str, Place] = {}
    for matrices in selection.matrices:
        paths = [path for path in modules if _matches(path, matrices.path)]
        if not paths:
            raise InputError(
                "selection", matrices.path, "names no layer of the model; compare its named_modules()"
            )
        for path in paths:
            if path in found:
                raise InputError("selection", path, "is named twice; leave one of the two paths out")
            _check_linear(path, modules[path], len(matrices.pieces) or 1)
            found[path] = Place(path, *_locate(path, selection), matrices.pieces or ("",))
    return [found[path] for path in modules if path in found]


def block_modules(model: nn.Module, selection: Selection) -> Iterator[nn.Module]:
    """Lists of blocks that the selection names.

    Raises
    ------
    InputError
        A list that the model does not have.
    """
    modules = dict(model.named_modules())
    for path in selection.blocks:
        if path not in modules:
            raise InputError(
                "selection", path, "is no list of blocks of the model; compare its named_modules()"
            )
        yield modules[path]


def decompose(model: nn.Module, selection: Selection, sharpness: float = 50.0) -> None:
    """Turn each selected nn.Linear of the model into a SoftThresholdLinear at full rank, in place."""
    for place in find_layers(model, selection):
        linear = model.get_submodule(place.path)
        if not isinstance(linear, nn.Linear):
            raise InputError("selection", place.path, "is not dense any more; start from the dense model")
        replace(model, place.path, SoftThresholdLinear(linear, len(place.pieces), sharpness))


def replace(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put `module` at `path` of the model, in the same mode (training or evaluation) as what was there."""
    parent, _, name = path.rpartition(".")
    module.train(model.get_submodule(path).training)
    model.get_submodule(parent).register_module(name, module)


def soft_layers(model: nn.Module) -> dict[str, SoftThresholdLinear]:
    """Layers of the model whose rank is being learned, by path."""
    return {path: m for path, m in model.named_modules() if isinstance(m, SoftThresholdLinear)}


def all_factors(model: nn.Module) -> list[Factors]:
    """Matrices whose rank is being learned, in the order of the model."""
    return [factors for layer in soft_layers(model).values() for factors in layer.factors()]


def _matches(path: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", r"[^.]+"), path) is not None


def _check_linear(path: str, module: nn.Module, pieces: int) -> None:
    if not isinstance(module, LINEAR):
        raise InputError("selection", path, f"is a {type(module).__name__}; name a torch.nn.Linear")
    if module.out_features % pieces:
        raise InputError(
            "selection", path, f"has {module.out_features} outputs, which {pieces} pieces do not divide"
        )


def _locate(path: str, selection: Selection) -> tuple[str, int, str]:
    for stack in selection.blocks:
        block, _, kind = path.removeprefix(f"{stack}.").partition(".")
        if path.startswith(f"{stack}.") and block.isdecimal() and kind:
            return stack, int(block), kind
    raise InputError(
        "selection", path, "lies in none of the lists under blocks; add the list or leave the layer out"
    )
