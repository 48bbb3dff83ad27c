"""From a selection in the configuration to the linear layers of a model."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from torch import nn

from softjet.config.lowrank import Form, Selection
from softjet.errors import InputError
from softjet.lowrank.dense import dense_weight, has_own_forward, is_dense, is_linear, sharers
from softjet.lowrank.embedding import LowRankEmbedding, SoftThresholdEmbedding
from softjet.lowrank.factors import Factors, Start, Train, factorised
from softjet.lowrank.gates import NewGate, soft_gate
from softjet.lowrank.layer import LOW_RANK, SOFT, SoftThresholdLinear
from softjet.lowrank.low_rank import PackedLinear

EMBEDDINGS = "embeddings"
"""Stack of embedding tables, which lie in no block."""


class Place(NamedTuple):
    """A selected layer: its path, the block it lies in, its path within the block, and its pieces' names."""

    path: str
    stack: str
    block: int
    type: str
    pieces: tuple[str, ...]


def find_layers(model: nn.Module, selection: Selection, embeddings: bool = False) -> list[Place]:
    """Find the selected layers, in the order of the model; of layers that share their weight the first.

    Parameters
    ----------
    model : nn.Module
        Dense, learning or fused.
    selection : Selection
    embeddings : bool
        Its embedding tables too: stack "embeddings", numbered, their path as type.

    Raises
    ------
    InputError
        A selection of nothing, a path that names nothing, or something other than a linear layer (or a
        table), a layer outside all blocks, one named twice, one whose outputs do not divide into its pieces,
        or a module to leave dense that holds no selected layer and none tied to one.
    """
    modules = dict(model.named_modules())
    found: dict[str, Place] = {}
    for matrices in selection.matrices:
        for path in _paths(modules, matrices.path, found):
            _check_linear(path, modules[path], len(matrices.pieces) or 1)
            found[path] = Place(path, *_locate(path, selection), matrices.pieces or ("",))
    for pattern in selection.embeddings if embeddings else ():
        for path in _paths(modules, pattern, found):
            _check_table(path, modules[path])
            number = sum(place.stack == EMBEDDINGS for place in found.values())
            found[path] = Place(path, EMBEDDINGS, number, path, ("",))
    left = _left_dense(modules, selection.dense, found)
    found = {path: place for path, place in found.items() if _content(modules[path]) not in left}
    if not found:
        raise InputError("selection", "matrices", "name no matrix of the model; name at least one")
    first: dict[int, Place] = {}
    for path in modules:
        if path in found:
            first.setdefault(_content(modules[path]), found[path])
    return list(first.values())


def _left_dense(
    modules: Mapping[str, nn.Module], patterns: Sequence[str], found: Collection[str]
) -> set[int]:
    """Weights of the layers that are, or lie in, the modules that patterns name.

    A weight that is left dense in one layer cannot be factored in another, be that one selected or not.
    """
    if not patterns:
        return set()
    chosen, left = {_content(modules[path]) for path in found}, set[int]()
    ranked = {path: _content(module) for path, module in modules.items() if _has_content(module)}
    for pattern in patterns:
        named = {
            content
            for path, content in ranked.items()
            if content in chosen and any(matches(module, pattern) for module in _holding(path))
        }
        if not named:
            raise InputError(
                "leave_dense", pattern, "names no layer that would get a rank; give another path"
            )
        left |= named
    return left


def _holding(path: str) -> Iterator[str]:
    """Paths of the modules that hold a layer, and its own."""
    return accumulate(path.split("."), "{}.{}".format)


def matrix_shapes(model: nn.Module, selection: Selection) -> Counter[tuple[int, int]]:
    """How many matrices of each shape (outputs, inputs) a dense model is compressed by; packed ones apart."""
    found = Counter[tuple[int, int]]()
    for place in find_layers(model, selection):
        outputs, inputs = dense_weight(model.get_submodule(place.path)).shape
        found[outputs // len(place.pieces), inputs] += len(place.pieces)
    return found


def _paths(modules: dict[str, nn.Module], pattern: str, found: dict[str, Place]) -> list[str]:
    paths = [path for path in modules if matches(path, pattern)]
    if not paths:
        raise InputError("selection", pattern, "names no layer of the model; compare its named_modules()")
    for path in paths:
        if path in found:
            raise InputError("selection", path, "is named twice; leave one of the two paths out")
    return paths


def _has_content(module: nn.Module) -> bool:
    return is_dense(module) or isinstance(module, (*SOFT, *LOW_RANK))


def _content(layer: nn.Module) -> int:
    """What is the same for layers that share their weight."""
    if isinstance(layer, SOFT):
        return id(layer.factors()[0])
    return id(layer.inner if isinstance(layer, LOW_RANK) else layer.weight)


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


def block_paths(model: nn.Module, selection: Selection) -> list[str]:
    """Paths of the single blocks, in the order of the selection.

    Raises
    ------
    InputError
        As of :func:`block_modules`.
    """
    lists = zip(selection.blocks, block_modules(model, selection), strict=True)
    return [f"{path}.{name}" for path, blocks in lists for name, _ in blocks.named_children()]


def decompose(
    model: nn.Module,
    selection: Selection,
    new_gate: NewGate = soft_gate,
    train: Train = "all",
    embeddings: bool = False,
    start: Start = "decomposed",
) -> None:
    """Turn each selected dense layer of the model into one whose rank is learned, at full rank, in place.

    Layers that share a weight, such as an output layer tied to an embedding table, share its factors.

    Parameters
    ----------
    model : nn.Module
        Dense.
    selection : Selection
    new_gate : callable
        From the number of directions of a matrix to its gate; `MaskGate` is one.
    train : "all" or "spectrum"
        With "spectrum", U and V are frozen.
    embeddings : bool
        Factor the embedding tables of the selection too.
    start : Start
        As of :class:`softjet.lowrank.factors.Factors`.

    Raises
    ------
    InputError
        As of :func:`find_layers`, or a layer that is not dense or has a forward of its own.
    """
    places = find_layers(model, selection, embeddings)
    for place in places:
        dense = model.get_submodule(place.path)
        if isinstance(dense, (*SOFT, *LOW_RANK)):
            raise InputError("selection", place.path, "is not dense any more; start from the dense model")
        for path, layer in sharers(model, dense):
            _check_forward(path, layer)
    for place in places:
        dense = model.get_submodule(place.path)
        factors = factorised(dense_weight(dense), len(place.pieces), new_gate, train, start)
        made: dict[nn.Module, nn.Module] = {}  # a module may stand at several paths
        for path, layer in list(sharers(model, dense)):
            made.setdefault(layer, _soft(layer, factors))
            replace(model, path, made[layer])


def set_form(model: nn.Module, form: Form) -> None:
    """Say what the matrices of a learning model will be stored as; those of embedding tables stay pairs.

    A table's rows are as many as the vocabulary: r^2 fewer numbers would hardly be missed there.
    """
    layers = soft_layers(model).values()
    tables = {layer.table for layer in layers if isinstance(layer, SoftThresholdEmbedding)}
    for factors in all_factors(model):
        factors.form = "pair" if factors in tables else form


def _soft(dense: nn.Module, factors: Sequence[Factors]) -> nn.Module:
    if isinstance(dense, nn.Embedding):
        return SoftThresholdEmbedding(dense, factors[0])
    return SoftThresholdLinear(dense, factors)


def replace(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put `module` at `path` of the model, in the same mode (training or evaluation) as what was there."""
    parent, _, name = path.rpartition(".")
    module.train(model.get_submodule(path).training)
    model.get_submodule(parent).register_module(name, module)


def soft_layers(model: nn.Module) -> dict[str, SoftThresholdLinear | SoftThresholdEmbedding]:
    """Layers of the model whose rank is being learned, by path."""
    return {path: m for path, m in model.named_modules(remove_duplicate=False) if isinstance(m, SOFT)}


def all_factors(model: nn.Module) -> list[Factors]:
    """Matrices whose rank is being learned, each once, in the order of the model."""
    return [module for module in model.modules() if isinstance(module, Factors)]


def matches(path: str, pattern: str) -> bool:
    """Whether a pattern names this path; `*` stands for one component."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", r"[^.]+"), path) is not None


def _check_forward(path: str, module: nn.Module) -> None:
    if has_own_forward(module):
        problem = f"is a {type(module).__name__}, whose forward is its own; leave it out"
        raise InputError("selection", path, problem)


def _check_linear(path: str, module: nn.Module, pieces: int) -> None:
    if is_linear(module):
        outputs = len(dense_weight(module))
    elif isinstance(module, (SoftThresholdLinear, PackedLinear)):
        outputs = module.out_features
    else:
        problem = f"is a {type(module).__name__}; name a torch.nn.Linear or a Conv1D of transformers"
        raise InputError("selection", path, problem)
    if outputs % pieces:
        raise InputError("selection", path, f"has {outputs} outputs, which {pieces} pieces do not divide")


def _check_table(path: str, module: nn.Module) -> None:
    if not isinstance(module, (nn.Embedding, SoftThresholdEmbedding, LowRankEmbedding)):
        raise InputError("selection", path, f"is a {type(module).__name__}; name a torch.nn.Embedding")
    if getattr(module, "max_norm", None) is not None:
        raise InputError("selection", path, "rescales its rows (max_norm); leave it out")


def _locate(path: str, selection: Selection) -> tuple[str, int, str]:
    for stack in selection.blocks:
        block, _, kind = path.removeprefix(f"{stack}.").partition(".")
        if path.startswith(f"{stack}.") and block.isdecimal() and kind:
            return stack, int(block), kind
    raise InputError(
        "selection", path, "lies in none of the lists under blocks; add the list or leave the layer out"
    )
