"""The table of ranks: a row a matrix."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import nn

from softjet.config.lowrank import Selection
from softjet.lowrank.factors import Factors
from softjet.lowrank.gates import SoftGate
from softjet.lowrank.layer import SOFT
from softjet.lowrank.selection import Place, all_factors, find_layers

THRESHOLDS = ("threshold", "threshold_raw", "threshold_of_largest")
"""Columns of the learned threshold: in three units."""


def table_rows(
    model: nn.Module, selection: Selection, ranks: Sequence[int], embeddings: bool = False
) -> list[dict[str, Any]]:
    """Describe every matrix at the moment its rank is chosen, while the gates are still in force.

    Parameters
    ----------
    model : nn.Module
        Learning model, freshly decomposed.
    selection : Selection
    ranks : sequence of int
        Chosen rank of each matrix, in the order of the model.
    embeddings : bool
        The embedding tables of the selection were factored too.

    Returns
    -------
    list of dict
        module, piece, stack, block, type; m, n, rank (directions kept), learned_rank (directions that the
        gate passed, before the budget was filled), dense, parameters (kept); threshold in units of `scale`,
        threshold_raw in those of the sizes, threshold_of_largest in units of the largest size (all NaN
        without a threshold); scale (see `Factors`); spectrum (sizes of directions, descending); kept
        (whether each of them is).

        Sizes are singular values, in the units of the matrix; of whitened soft thresholds they are what the
        outputs lose without a direction, and of Fisher's what the loss does (twice that, and its root). Of
        whitened truncations they are singular values of what is left, zero for directions dropped. Of a
        learned mask they are singular values no more than nearly: its directions are not decomposed afresh.
    """
    chosen = dict(zip(all_factors(model), ranks, strict=True))
    found = _in_order_of_table(model, selection, embeddings)
    return [_where(place, piece) | _what(factors, chosen[factors]) for place, piece, factors in found]


def factors_of_rows(model: nn.Module, selection: Selection, embeddings: bool = False) -> list[Factors]:
    """Matrices of the rows of the table, in their order; arguments as of :func:`table_rows`.

    It may be another than that of the model: a layer that is not selected but tied to a table may stand
    before it.
    """
    return [factors for *_, factors in _in_order_of_table(model, selection, embeddings)]


def _in_order_of_table(
    model: nn.Module, selection: Selection, embeddings: bool
) -> Iterator[tuple[Place, str, Factors]]:
    for place in find_layers(model, selection, embeddings):
        layer = model.get_submodule(place.path)
        assert isinstance(layer, SOFT)
        for piece, factors in zip(place.pieces, layer.factors(), strict=True):
            yield place, piece, factors


def _where(place: Place, piece: str) -> dict[str, Any]:
    kind = f"{place.type}.{piece}" if piece else place.type
    return {"module": place.path, "piece": piece, "stack": place.stack, "block": place.block, "type": kind}


def _what(factors: Factors, rank: int) -> dict[str, Any]:
    (m, n), scale, gate = factors.shape, float(factors.scale), factors.gate
    alpha = gate.alpha.item() if isinstance(gate, SoftGate) else math.nan
    sizes = factors.spectrum().detach()
    by_size = sizes.argsort(descending=True, stable=True)
    spectrum = sizes[by_size] * factors.scale
    parameters = factors.parameters_at(rank)
    return {
        "m": m,
        "n": n,
        "rank": rank,
        "learned_rank": factors.rank(),
        "dense": parameters == m * n,
        "parameters": parameters,
        "threshold": alpha,
        "threshold_raw": alpha * scale,
        "threshold_of_largest": alpha * scale / float(spectrum[0]) if spectrum[0] > 0 else math.nan,
        "scale": scale,
        "spectrum": spectrum.tolist(),
        "kept": torch.isin(by_size, factors.order()[:rank]).tolist(),
    }


def ranks_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows of :func:`table_rows` as a table."""
    return pd.DataFrame(list(rows))
