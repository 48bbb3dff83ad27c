"""Directions that keep the loss: by what it minds at the outputs, and what the inputs make of a matrix."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from softjet.lowrank.factors import Factors, unit_of
from softjet.lowrank.measures import LossMeasure, Measure, RowMeasure
from softjet.lowrank.moments import Moments, layers_of, measured
from softjet.lowrank.whitening import blank_measures, input_measure, ridged_root


def blank_loss_measures(model: nn.Module) -> None:
    """Give every matrix a measure that knows nothing yet, for :func:`measure_loss` or a state."""
    blank_measures(model)
    for layer in layers_of(model):
        for factors in layer.factors():
            if not isinstance(factors.measure, RowMeasure):
                m, n = factors.shape
                factors.measure = LossMeasure(*(factors.scale.new_ones(size).diag() for size in (m, n)))


@torch.no_grad()
def measure_loss(model: nn.Module, calibrate: Callable[[], None]) -> None:
    """Decompose every matrix into directions that are measured by what dropping them costs the loss.

    One scale holds for all matrices, times the root of m + n, the parameters of a direction of an m x n
    matrix: so equal thresholds are an equal cost in loss a parameter. Embedding tables are measured by how
    often rows are looked up, and as a layer that no gradient reaches in units of their own.

    Parameters
    ----------
    model : nn.Module
        At full rank, with :func:`blank_loss_measures`.
    calibrate : callable
        Takes the gradients of the loss over the same batches, in evaluation mode, whenever it is called.

    Raises
    ------
    InputError
        A layer gets inputs or gradients that are not finite.
    """
    comparable: list[Factors] = []
    for layer, moments in measured(model, calibrate, gradients=True):
        first = 0
        for factors in layer.factors():
            outputs = slice(first, first := first + factors.shape[0])
            if moments is not None and moments.inputs.ndim == 1:
                factors.remeasure(input_measure(moments.inputs).to(factors.sigma))
            elif moments is None or moments.outputs is None or not moments.outputs[outputs, outputs].any():
                factors.remeasure(factors.measure)
            else:
                factors.remeasure(_loss_measure(moments, outputs).to(factors.sigma))
                comparable.append(factors)
    _share_scale(comparable)


def _loss_measure(moments: Moments, outputs: slice) -> Measure:
    """Measure of the matrix that makes these outputs."""
    assert moments.outputs is not None
    above, inputs = moments.outputs[outputs, outputs] / moments.rows, moments.inputs
    return LossMeasure(_root(above), _root(inputs))


def _root(moments: Tensor) -> Tensor:
    mean = moments.diagonal().mean().clamp(min=torch.finfo(moments.dtype).tiny)
    return ridged_root(moments / mean) * mean.sqrt()


def _share_scale(comparable: Sequence[Factors]) -> None:
    """Give matrices one scale, times the root of what a direction of theirs takes in parameters."""
    if not comparable:
        return
    roots = [sum(factors.shape) ** 0.5 for factors in comparable]
    sizes = [f.spectrum() * f.scale / root for f, root in zip(comparable, roots, strict=True)]
    common = unit_of(torch.cat(sizes))
    for factors, root in zip(comparable, roots, strict=True):
        factors.rescale(common * root)
