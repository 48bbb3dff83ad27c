"""What the layers of a dense model are given, and how its loss minds what they put out, over some batches."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from softjet.errors import InputError
from softjet.lowrank.embedding import SoftThresholdEmbedding
from softjet.lowrank.factors import Factors
from softjet.lowrank.gates import precise
from softjet.lowrank.layer import SoftThresholdLinear
from softjet.lowrank.selection import soft_layers
from softjet.progress import Progress

log = logging.getLogger(__name__)

Layer = SoftThresholdLinear | SoftThresholdEmbedding

NUMBERS_AT_ONCE = 2**27
"""Entries of second moments that one pass over the batches may gather: 1 GiB."""

ROWS_AT_ONCE = 4096
"""Rows of a layer that are summed up in float32, before sums of sums are in float64."""

SCARCE = 2
"""With fewer rows than this for each feature of a layer's inputs, directions are those of the rows seen."""


class Moments(NamedTuple):
    """Sums over the rows that a layer was given, in float64.

    Attributes
    ----------
    inputs : Tensor, shape (n, n) or (m,)
        Of x x^T over the inputs x; of a table counts of the rows looked up.
    outputs : Tensor, shape (m, m), or None
        Of g g^T over the gradients g of the loss by the outputs, where they were asked for and came.
    rows : int
        How many there were.
    """

    inputs: Tensor
    outputs: Tensor | None
    rows: int


class _Sums:
    """Sums of the layers under way."""

    def __init__(self) -> None:
        self.inputs: dict[Layer, Tensor] = {}
        self.outputs: dict[Layer, Tensor] = {}
        self.rows: Counter[Layer] = Counter()

    def add_inputs(self, layer: Layer, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach()
        if isinstance(layer, SoftThresholdEmbedding):
            _add(self.inputs, layer, _counts(layer, x))
            self.rows[layer] += x.numel()
        else:
            _add(self.inputs, layer, _outer_products(x))
            self.rows[layer] += x.shape[:-1].numel()

    def await_gradient(self, layer: Layer, _: nn.Module, __: Any, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(partial(self._add_gradient, layer))

    def _add_gradient(self, layer: Layer, gradient: Tensor) -> None:
        _add(self.outputs, layer, _outer_products(gradient.detach()))

    def of(self, layer: Layer) -> Moments | None:
        if layer not in self.inputs:
            return None
        return Moments(self.inputs[layer], self.outputs.get(layer), self.rows[layer])


def measured(
    model: nn.Module, calibrate: Callable[[], None], gradients: bool = False
) -> Iterator[tuple[Layer, Moments | None]]:
    """Layers whose rank is learned and their moments; what is done with them between is timed.

    Where the moments of all layers would need too much memory at once, the batches are run through several
    times. Layers that share a matrix come once, as the first of them.

    Parameters
    ----------
    model : nn.Module
        Decomposed or whole, at full rank.
    calibrate : callable
        Runs the model over the same batches, in evaluation mode, whenever it is called; with `gradients` it
        takes those of the loss.
    gradients : bool
        Gather `outputs`, of linear layers.

    Yields
    ------
    layer, Moments or None
        None where the batches do not reach the layer.

    Raises
    ------
    InputError
        A layer gets inputs, or gradients, that are not finite.
    """
    layers, rows = layers_of(model), Counter[Layer]()
    with Progress(len(layers), "decompose by inputs", "layers") as progress:
        for group in _groups(layers, gradients):
            sums = _gather(group, calibrate, gradients)
            for layer in group:
                moments = sums.of(layer)
                if moments is not None:
                    _check(layers[layer], moments)
                yield layer, moments
                progress.advance()
            rows.update(sums.rows)
    _advise(layers, rows)


def _advise(layers: Mapping[Layer, str], rows: Mapping[Layer, int]) -> None:
    """Say so where the inputs seen are too few to tell directions of all inputs."""
    seen = {layer: count for layer, count in rows.items() if isinstance(layer, SoftThresholdLinear)}
    if not seen:
        return
    worst = min(seen, key=lambda layer: seen[layer] / layer.in_features)
    if seen[worst] < SCARCE * worst.in_features:
        inputs = f"{seen[worst]} inputs of {worst.in_features} features"
        log.warning("%s was measured by %s: raise calibration", layers[worst], inputs)


def _check(path: str, moments: Moments) -> None:
    """Refuse moments that are not finite, for which no ridge is large enough."""
    kinds = (("inputs", moments.inputs), ("gradients", moments.outputs))
    for what, values in kinds:
        if values is None:
            continue
        diagonal = values if values.ndim == 1 else values.diagonal()
        if not diagonal.sum().isfinite():
            problem = f"gets {what} that are not finite from the calibration batches"
            raise InputError("rank learning", path, f"{problem}; mend the data or the weights")


def layers_of(model: nn.Module) -> dict[Layer, str]:
    """Layers whose rank is learned, with their paths; of those that share a matrix the first."""
    first: dict[Factors, tuple[Layer, str]] = {}
    for path, layer in soft_layers(model).items():
        first.setdefault(layer.factors()[0], (layer, path))
    return dict(first.values())


def _groups(layers: Iterable[Layer], gradients: bool) -> Iterator[list[Layer]]:
    """Cut the layers into runs whose moments fit into memory."""
    group: list[Layer] = []
    for layer in layers:
        if group and sum(_numbers(own, gradients) for own in [*group, layer]) > NUMBERS_AT_ONCE:
            yield group
            group = []
        group.append(layer)
    yield group


def _numbers(layer: Layer, gradients: bool) -> int:
    if isinstance(layer, SoftThresholdEmbedding):
        return layer.num_embeddings
    return layer.in_features**2 + (layer.out_features**2 if gradients else 0)


def _gather(layers: Sequence[Layer], calibrate: Callable[[], None], gradients: bool) -> _Sums:
    sums = _Sums()
    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(partial(sums.add_inputs, layer)).remove)
            if gradients and isinstance(layer, SoftThresholdLinear):
                hooks.callback(layer.register_forward_hook(partial(sums.await_gradient, layer)).remove)
        calibrate()
    return sums


def _add(sums: dict[Layer, Tensor], layer: Layer, these: Tensor) -> None:
    sums[layer] = sums[layer].add_(these) if layer in sums else these


def _counts(table: SoftThresholdEmbedding, ids: Tensor) -> Tensor:
    return ids.flatten().bincount(minlength=table.num_embeddings).double()


def _outer_products(x: Tensor) -> Tensor:
    """Sum over rows: of some thousand in float32, which takes half the time, and of these sums in float64."""
    features = x.shape[-1]
    total = x.new_zeros(features, features, dtype=torch.float64)
    for rows in x.to(precise(x)).reshape(-1, features).split(ROWS_AT_ONCE):
        total += rows.T @ rows
    return total
