"""Linear layers with the same inputs as one layer: one first product, and one rank, for all of them."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from softjet.config.lowrank import RankLearning, Selection
from softjet.errors import InputError
from softjet.lowrank.dense import dense_linear, has_own_forward
from softjet.lowrank.selection import matches

JOINT = "+"
"""What stands between the names of layers in that of the one that they become."""


class Seen(NamedTuple):
    """Outputs that wait to be taken, and the very inputs that they are of, as they were."""

    x: Tensor
    state: tuple[int, bool]
    outputs: Sequence[Tensor]
    taken: set[int]


class Together:
    """Layers that are computed at once, when the first of them is called.

    The others are given what is theirs of that product if they are called with the very same tensor, not
    changed in place since (which tensors of inference mode do not tell), and with gradients on or off as they
    were. A layer that is called again computes again, so nothing is kept for a later pass through the model,
    and threads that meet here cost each other a product and nothing else.

    Parameters
    ----------
    owner : nn.Module
        Holds the joint layer.
    name : str
        Its name there.
    sizes : sequence of int
        Outputs of each.
    """

    def __init__(self, owner: nn.Module, name: str, sizes: Sequence[int]) -> None:
        self.owner, self.name, self.sizes = owner, name, list(sizes)
        self._seen: Seen | None = None

    def part(self, place: int, x: Tensor) -> Tensor:
        """Outputs of one of the layers; shapes (..., in) -> (..., out)."""
        seen, state = self._seen, _state_of(x)
        if seen is None or seen.x is not x or seen.state != state or place in seen.taken:
            outputs = self.owner.get_submodule(self.name)(x).split(self.sizes, dim=-1)
            seen = self._seen = Seen(x, state, outputs, set())
        seen.taken.add(place)
        if len(seen.taken) == len(self.sizes):
            self._seen = None
        return seen.outputs[place]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Together":
        # What waits to be taken may hang on a graph of gradients, which cannot be copied.
        memo[id(self)] = twin = Together.__new__(Together)
        twin.__init__(copy.deepcopy(self.owner, memo), self.name, self.sizes)  # type: ignore[misc]
        return twin


def _state_of(x: Tensor) -> tuple[int, bool]:
    """What tells a tensor from the same one later: how often it was changed, and whether gradients are on."""
    return 0 if x.is_inference() else x._version, torch.is_grad_enabled()


class Share(nn.Module):
    """Stands where a linear layer stood that is now computed together with others.

    Parameters
    ----------
    together : Together
    place : int
        Which of them it is.
    """

    def __init__(self, together: Together, place: int) -> None:
        super().__init__()
        self.together, self.place = together, place

    def extra_repr(self) -> str:
        """Where its outputs come from, for print(model)."""
        return f"{self.place} of {self.together.name}"

    def forward(self, x: Tensor) -> Tensor:
        """Multiply; shapes (..., in) -> (..., out)."""
        return self.together.part(self.place, x)


def selection_of(model: nn.Module, selection: Selection, settings: RankLearning) -> Selection:
    """What a run compresses: the selection with `share_inputs` and `leave_dense` as the settings say.

    Layers are joined first, so a joint one is left dense by its own path, or that of a module it lies in.
    """
    chosen = share_inputs(model, selection) if settings.share_inputs else selection
    return chosen.leaving(settings.leave_dense)


def share_inputs(model: nn.Module, selection: Selection) -> Selection:
    """Join the layers of a dense model that have the same inputs, in place; its answers stay.

    Several matrices of the same inputs need one first factor of low rank, not one each, where the directions
    of their inputs that they use are alike. What was packed in one layer anyway is taken as one matrix.

    Parameters
    ----------
    model : nn.Module
        Dense.
    selection : Selection
        `shared` names the layers.

    Returns
    -------
    Selection
        Of the model as it is now: a matrix for each joint layer, its path the parent's and the names between
        plus signs, such as model.layers.*.mlp.gate_proj+up_proj.

    Raises
    ------
    InputError
        Layers that are not in the model, or cannot be one.
    """
    matrices = {m.path: m.model_copy(update={"pieces": ()}) for m in selection.matrices}
    for group in selection.shared:
        into = joint_path(group)
        for path in _joint_paths(model, into):
            join(model, path)
        matrices[group[0]] = matrices[group[0]].model_copy(update={"path": into})
        for path in group[1:]:
            del matrices[path]
    return selection.model_copy(update={"matrices": tuple(matrices.values()), "shared": ()})


def joint_path(group: Sequence[str]) -> str:
    """Path of the layer that layers of one parent become."""
    parents, names = zip(*(path.rpartition(".")[::2] for path in group), strict=True)
    assert len(set(parents)) == 1
    return f"{parents[0]}.{JOINT.join(names)}"


def _joint_paths(model: nn.Module, pattern: str) -> list[str]:
    parent, _, name = pattern.rpartition(".")
    paths = [path for path, _ in model.named_modules() if matches(path, parent)]
    if not paths:
        raise InputError("selection", pattern, "names no layers of the model; compare its named_modules()")
    return [f"{path}.{name}" for path in paths]


@torch.no_grad()
def join(model: nn.Module, path: str) -> None:
    """Make one linear layer of several, in place.

    Parameters
    ----------
    model : nn.Module
    path : str
        Of the layer to be; its last component names the layers that it is made of.

    Raises
    ------
    InputError
        Modules that are absent, are not linear layers, or differ in their inputs or in having an offset.
    """
    parent, _, name = path.rpartition(".")
    layers = _linears(model, path)
    weights: list[Tensor] = [layer.weight for layer in layers]
    biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
    joint = dense_linear(
        nn.Parameter(torch.cat(weights)),
        nn.Parameter(torch.cat(biases)) if biases else None,
    )
    owner = model.get_submodule(parent)
    together = Together(owner, name, [layer.out_features for layer in layers])
    owner.add_module(name, joint.train(layers[0].training))
    for place, own in enumerate(name.split(JOINT)):
        owner.add_module(own, Share(together, place).train(layers[0].training))


def _linears(model: nn.Module, path: str) -> list[nn.Linear]:
    parent, _, name = path.rpartition(".")
    try:
        layers = [model.get_submodule(f"{parent}.{own}") for own in name.split(JOINT)]
    except AttributeError:
        raise InputError("selection", path, "names layers that the model does not have") from None
    linears = [layer for layer in layers if isinstance(layer, nn.Linear) and not has_own_forward(layer)]
    if len({(layer.in_features, layer.bias is None) for layer in linears}) != 1 or linears != layers:
        raise InputError("selection", path, "are not linear layers of the same inputs; name others as shared")
    return linears


def joint_layers(model: nn.Module) -> Iterator[str]:
    """Paths of layers that were joined."""
    for path, module in model.named_modules():
        if isinstance(module, Share) and module.place == 0:
            yield f"{path.rpartition('.')[0]}.{module.together.name}"
