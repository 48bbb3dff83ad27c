"""What factored matrices gain in a stack of layers, beside the most that they could."""

import copy
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from softjet.config.lowrank import Selection
from softjet.latency.pairs import measure_pair
from softjet.latency.ratio import summarise
from softjet.latency.work import work_of
from softjet.lowrank.dense import dense_bias, dense_weight
from softjet.lowrank.layer import linear_weights
from softjet.lowrank.low_rank import LowRankLinear, Piece
from softjet.lowrank.selection import find_layers

DENSE, FACTORED, LINEAR = "dense", "factored", "linear layers alone"

WARMUP = 3
"""Calls of each before the clock counts."""


def factored(model: nn.Module, selection: Selection, share: float) -> nn.Module:
    """A copy whose selected matrices are products of random factors, with a share of the parameters each.

    For measurements of time, which do not depend on values.

    Parameters
    ----------
    model : nn.Module
        Dense.
    selection : Selection
    share : float
        Parameters of the two factors over those of the matrix, at most; the rank is at least 1.
    """
    model = copy.deepcopy(model)
    for place in find_layers(model, selection):
        layer = model.get_submodule(place.path)
        parent, _, name = place.path.rpartition(".")
        setattr(model.get_submodule(parent), name, _factored(layer, len(place.pieces), share))
    return model.eval()


def _factored(layer: nn.Module, pieces: int, share: float) -> LowRankLinear:
    weight, bias = dense_weight(layer), dense_bias(layer)
    outputs, inputs = weight.shape[0] // pieces, weight.shape[1]
    rank = max(1, math.floor(share * outputs * inputs / (outputs + inputs)))
    new = LowRankLinear(inputs, [Piece(outputs, rank)] * pieces, bias is not None).to(weight.dtype)
    for parameter in new.parameters():
        nn.init.normal_(parameter, std=inputs**-0.5)
    return new


def measure_factored(
    model: nn.Module,
    selection: Selection,
    call: Callable[[nn.Module], Any],
    share: float,
    samples: int,
    setting: Mapping[str, Any],
    noise: float = 0.2,
) -> dict[str, Any]:
    """Time a stack dense and factored in turns, and dense against its linear layers alone.

    The linear layers alone, on the inputs that they get in the stack, tell their share f of its time. With a
    share rho of their multiply-accumulates they cannot make the stack faster than 1 / ((1 - f) + f rho).

    Parameters
    ----------
    model : nn.Module
        Dense, in evaluation mode.
    selection : Selection
        Of the layers to factor.
    call : callable
        Runs a model once.
    share : float
        Of the parameters that the factors keep.
    samples : int
        Timed calls of each.
    setting : mapping
        batch and length, for the table.
    noise : float
        See :func:`softjet.latency.summarise`.

    Returns
    -------
    dict
        The columns of :func:`softjet.latency.summarise` (a dense, b factored), linear_share (f; NaN where
        too noisy, and linear_note says so), linear_nanoseconds (of every call of these layers), kept (rho),
        bound, the work of a factored call (see :meth:`softjet.latency.work.Work.columns`) and dense_flops,
        dense_bytes_read of a dense one.
    """
    small = factored(model, selection, share)
    with torch.inference_mode():
        work, dense_work = work_of(partial(call, small)), work_of(partial(call, model))
    alone = _linear_layers(model, selection, call)
    times = [
        measure_pair(partial(call, model), other, samples, WARMUP, names=(DENSE, name), **setting)
        for name, other in ((FACTORED, partial(call, small)), (LINEAR, alone))
    ]
    row, part = (
        dict(summarise(table, (DENSE, name), noise=noise).iloc[0])
        for table, name in zip(times, (FACTORED, LINEAR), strict=True)
    )
    # Not min(), which makes 1 of what was too noisy.
    linear_share = float(np.minimum(1.0, 1 / part["ratio"]))
    kept = _weights(small, selection) / _weights(model, selection)
    bound = 1 / ((1 - linear_share) + linear_share * kept)
    dense = {"dense_flops": dense_work.total, "dense_bytes_read": dense_work.read}
    row |= {"linear_share": linear_share, "linear_note": part["note"], "kept": kept, "bound": bound}
    row["linear_nanoseconds"] = part["nanoseconds_b"]
    return {**row, **work.columns(), **dense}


def _weights(model: nn.Module, selection: Selection) -> int:
    return sum(linear_weights(model.get_submodule(place.path)) for place in find_layers(model, selection))


def _linear_layers(
    model: nn.Module, selection: Selection, call: Callable[[nn.Module], Any]
) -> Callable[[], None]:
    """A call of the selected layers alone, one after the other, on what each gets in the model."""
    layers = [model.get_submodule(place.path) for place in find_layers(model, selection)]
    seen: dict[nn.Module, Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs: seen.update({layer: inputs[0]}))
        for layer in layers
    ]
    with torch.inference_mode():
        call(model)
    for hook in hooks:
        hook.remove()

    def alone() -> None:
        for layer, inputs in seen.items():
            layer(inputs)

    return alone


def table_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows of several settings, with the share of the bound that is reached."""
    table = pd.DataFrame(rows)
    return table.assign(of_bound=table["ratio"] / table["bound"])
