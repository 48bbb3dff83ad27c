"""Directions that keep a layer's outputs rather than its weights: activation-whitened decompositions."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from softjet.lowrank.embedding import SoftThresholdEmbedding
from softjet.lowrank.factors import Factors
from softjet.lowrank.measures import InputMeasure, Measure, RowMeasure
from softjet.lowrank.moments import layers_of, measured
from softjet.lowrank.selection import all_factors

RIDGE = 1e-4
"""Second moment, in units of the mean one, that every direction of inputs is taken to have at least.

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
    for layer, moments in measured(model, calibrate):
        for factors in layer.factors():
            if moments is not None and wanted[factors] < min(factors.shape):
                weight = factors.weight()
                pairs[factors] = _truncated(weight, moments.inputs, wanted[factors])
                factors.rescale(_singular_values(weight))
    for factors in wanted:
        if factors in pairs:
            factors.reset_product(*pairs[factors])
        else:
            factors.reset(factors.weight())
            factors.rescale(factors.sigma)


def blank_measures(model: nn.Module) -> None:
    """Give every matrix a measure by inputs that knows none yet, for :func:`measure_inputs` or a state."""
    for layer in layers_of(model):
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
    for layer, moments in measured(model, calibrate):
        for factors in layer.factors():
            known = factors.measure if moments is None else input_measure(moments.inputs).to(factors.sigma)
            factors.remeasure(known)


def input_measure(moments: Tensor) -> Measure:
    """Measure by second moments (n, n) of inputs, or by counts (m,) of rows; finite."""
    mean = moments.mean() if moments.ndim == 1 else moments.diagonal().mean()
    even = moments / mean.clamp(min=torch.finfo(moments.dtype).tiny)
    if moments.ndim == 1:
        return RowMeasure((even + RIDGE).sqrt())
    return InputMeasure(ridged_root(even))


def ridged_root(even: Tensor) -> Tensor:
    """S with S S^T = second moments (n, n) whose mean is one, behind the ridge; lower triangular."""
    # As it lies in memory after a state is read: products of the same numbers may round otherwise.
    return _root(even + RIDGE * torch.ones_like(even[0]).diag()).contiguous()


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
