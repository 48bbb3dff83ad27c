"""Directions that keep a layer's outputs rather than its weights: activation-whitened decompositions."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from softjet.errors import InputError
from softjet.lowrank.embedding import SoftThresholdEmbedding
from softjet.lowrank.factors import Factors
from softjet.lowrank.layer import SoftThresholdLinear
from softjet.lowrank.measures import InputMeasure, Measure, RowMeasure
from softjet.lowrank.selection import all_factors, soft_layers
from softjet.progress import Progress

log = logging.getLogger(__name__)

Layer = SoftThresholdLinear | SoftThresholdEmbedding

NUMBERS_AT_ONCE = 2**27
"""Entries of second moments that one pass over the batches may gather: 1 GiB."""

ROWS_AT_ONCE = 4096
"""Rows of a layer's input that stand in float64 at once."""

SCARCE = 2
"""With fewer rows than this for each feature of a layer's inputs, directions are those of the rows seen."""

RIDGE = 1e-4
"""Second moment, in units of the mean one, that every input direction is taken to have at least.

Weights along directions that the inputs seen do not have would else be free, and the next inputs have them.
"""


@torch.no_grad()
def whiten(model: nn.Module, ranks: Sequence[int], calibrate: Callable[[], None]) -> None:
    """Replace every matrix that gets a lower rank by its whitened truncation, and decompose the others.

    The moments of all layers are those of the dense model. Where they would need too much memory at once, the
    batches are run through it several times. A layer that no batch reaches is decomposed as it is. Scales are
    those of plain decompositions of the dense model.

    Parameters
    ----------
    model : nn.Module
        Decomposed or whole, at full rank.
    ranks : sequence of int
        Rank of each matrix, in the order of the model.
    calibrate : callable
        Runs the model over the same batches, in evaluation mode, whenever it is called.

    Raises
    ------
    InputError
        A layer gets inputs that are not finite.
    """
    wanted = dict(zip(all_factors(model), ranks, strict=True))
    for factors in wanted:
        factors.fix(min(factors.shape))
    pairs: dict[Factors, tuple[Tensor, Tensor]] = {}
    for layer, moments in _measured(model, calibrate):
        for factors in layer.factors():
            if moments is not None and wanted[factors] < min(factors.shape):
                weight = factors.weight()
                pairs[factors] = _truncated(weight, moments, wanted[factors])
                factors.rescale(_singular_values(weight))
    for factors in wanted:
        if factors in pairs:
            factors.reset_product(*pairs[factors])
        else:
            factors.reset(factors.weight())
            factors.rescale(factors.sigma)


def blank_measures(model: nn.Module) -> None:
    """Give every matrix a measure by inputs that knows none yet, for :func:`measure_inputs` or a state."""
    for layer in _layers(model):
        for factors in layer.factors():
            (m, n), like = factors.shape, factors.scale
            table = isinstance(layer, SoftThresholdEmbedding)
            factors.measure = RowMeasure(like.new_ones(m)) if table else InputMeasure(like.new_ones(n).diag())


@torch.no_grad()
def measure_inputs(model: nn.Module, calibrate: Callable[[], None]) -> None:
    """Decompose every matrix into directions that are measured by what they carry to its outputs.

    Parameters
    ----------
    model : nn.Module
        At full rank, with :func:`blank_measures`, by which a layer is decomposed that no batch reaches.
    calibrate : callable
        Runs the model over the same batches, in evaluation mode, whenever it is called.

    Raises
    ------
    InputError
        A layer gets inputs that are not finite.
    """
    for layer, moments in _measured(model, calibrate):
        for factors in layer.factors():
            known = factors.measure if moments is None else _measure(moments).to(factors.sigma)
            factors.remeasure(known)


def _measured(model: nn.Module, calibrate: Callable[[], None]) -> Iterator[tuple[Layer, Tensor | None]]:
    """Layers and their moments, None where the batches do not reach them; what is done with them is timed."""
    layers, rows = _layers(model), Counter[Layer]()
    with Progress(len(layers), "decompose by inputs", "layers") as progress:
        for group in _groups(layers):
            found = _gather(group, calibrate, rows)
            for layer, moments in found.items():
                _check(layers[layer], moments)
            for layer in group:
                yield layer, found.get(layer)
                progress.advance()
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


def _check(path: str, moments: Tensor) -> None:
    """Refuse moments that are not finite, for which no ridge is large enough."""
    diagonal = moments if moments.ndim == 1 else moments.diagonal()
    if not diagonal.sum().isfinite():
        problem = "gets inputs that are not finite from the calibration batches; mend the data or the weights"
        raise InputError("rank learning", path, problem)


def _measure(moments: Tensor) -> Measure:
    """Measure by second moments (n, n) of inputs, or by counts (m,) of rows."""
    mean = moments.mean() if moments.ndim == 1 else moments.diagonal().mean()
    even = moments / mean.clamp(min=torch.finfo(moments.dtype).tiny)
    if moments.ndim == 1:
        return RowMeasure((even + RIDGE).sqrt())
    # As it lies in memory after a state is read: products of the same numbers may round otherwise.
    return InputMeasure(_root(even + RIDGE * torch.ones_like(even[0]).diag()).contiguous())


def _layers(model: nn.Module) -> dict[Layer, str]:
    """Layers whose rank is learned, with their paths; of those that share a matrix the first."""
    first: dict[Factors, tuple[Layer, str]] = {}
    for path, layer in soft_layers(model).items():
        first.setdefault(layer.factors()[0], (layer, path))
    return dict(first.values())


def _groups(layers: Iterable[Layer]) -> Iterator[list[Layer]]:
    """Cut the layers into runs whose moments fit into memory."""
    group: list[Layer] = []
    for layer in layers:
        if group and sum(map(_numbers, [*group, layer])) > NUMBERS_AT_ONCE:
            yield group
            group = []
        group.append(layer)
    yield group


def _numbers(layer: Layer) -> int:
    return layer.num_embeddings if isinstance(layer, SoftThresholdEmbedding) else layer.in_features**2


def _gather(
    layers: Sequence[Layer], calibrate: Callable[[], None], rows: Counter[Layer]
) -> dict[Layer, Tensor]:
    """Sum of x x^T over the inputs x of each layer while `calibrate` runs; of a table the counts of rows.

    How many inputs each layer had is added to `rows`.
    """
    moments: dict[Layer, Tensor] = {}

    def add(layer: Layer, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach()
        these = _counts(layer, x) if isinstance(layer, SoftThresholdEmbedding) else _outer_products(layer, x)
        moments[layer] = moments.get(layer, torch.zeros_like(these)) + these
        rows[layer] += x.shape[:-1].numel()

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(partial(add, layer)).remove)
        calibrate()
    return moments


def _counts(table: SoftThresholdEmbedding, ids: Tensor) -> Tensor:
    return ids.flatten().bincount(minlength=table.num_embeddings).double()


def _outer_products(layer: SoftThresholdLinear, x: Tensor) -> Tensor:
    total = x.new_zeros(layer.in_features, layer.in_features, dtype=torch.float64)
    for rows in x.reshape(-1, layer.in_features).split(ROWS_AT_ONCE):
        total.addmm_(rows.T.double(), rows.double())
    return total


def _singular_values(weight: Tensor) -> Tensor:
    """Singular values, to some 1e-8 of the largest: by a Gram matrix, in a fraction of the time."""
    tall = (weight if weight.shape[0] >= weight.shape[1] else weight.T).double()
    return torch.linalg.eigvalsh(tall.T @ tall).clamp(min=0).sqrt()


def _truncated(weight: Tensor, moments: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Two factors of the whitened truncation; a table multiplies rows of the unit matrix from the right."""
    if moments.ndim == 2:
        return whitened(weight, moments, rank)
    outer, inner = whitened(weight.T, moments, rank)
    return inner.T, outer.T


def whitened(weight: Tensor, moments: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Truncate a matrix so that its outputs on the inputs seen change least.

    Parameters
    ----------
    weight : Tensor, shape (m, n)
        W, which multiplies inputs x of n features.
    moments : Tensor, shape (n, n) or (n,)
        Sum of x x^T over the inputs, or its diagonal where there is nothing beside it; finite.
    rank : int

    Returns
    -------
    tuple of Tensor, shapes (m, rank), (rank, n)
        Two matrices whose product is the W' of this rank with the least sum of |W x - W' x|^2; of the type
        of `weight`, computed in float64.

    References
    ----------
    SVD-LLM (arXiv 2403.07378): the truncated decomposition U Sigma V of W S, times S^-1, where S S^T is the
    matrix of moments. U U^T W is the same matrix, without the inverse.
    """
    exact, root = weight.detach().double(), _root(moments.double())
    scaled = exact @ root if root.ndim == 2 else exact * root
    left = torch.linalg.svd(scaled, full_matrices=False).U[:, :rank]
    return left.to(weight.dtype), (left.T @ exact).to(weight.dtype)


def _root(moments: Tensor) -> Tensor:
    """S with S S^T = moments, behind the smallest ridge (in powers of ten) that makes them definite."""
    epsilon = torch.finfo(moments.dtype).eps
    if moments.ndim == 1:
        return moments.clamp(min=epsilon * moments.mean()).sqrt()
    ones, ridge = torch.ones_like(moments[0]).diag(), 0.0
    smallest = epsilon * float(moments.diagonal().mean()) or 1.0
    while True:
        root, failed = torch.linalg.cholesky_ex(moments + ridge * ones)
        if not failed:
            return root
        ridge = 10 * ridge or smallest
