"""The table of ranks: a row a matrix."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from torch import nn

from softjet.config.lowrank import Selection
from softjet.lowrank.layer import Factors, SoftThresholdLinear, kept_parameters
from softjet.lowrank.selection import Place, find_layers


def table_rows(model: nn.Module, selection: Selection, ranks: Sequence[int]) -> list[dict[str, Any]]:
    """Describe every matrix at the moment its rank is chosen, while the thresholds are still in force.

    Parameters
    ----------
    model : nn.Module
        Learning model, freshly decomposed.
    selection : Selection
    ranks : sequence of int
        Chosen rank of each matrix, in the order of the model.

    Returns
    -------
    list of dict
        module, piece, stack, block, type; m, n, rank (directions kept), learned_rank (directions above the
        threshold, before the budget was filled), dense, parameters (kept); threshold in units of `scale`,
        the median singular value of the dense matrix, threshold_raw in the units of the matrix,
        threshold_of_largest in units of its largest singular value; scale; spectrum (singular values,
        descending, in the units of the matrix).
    """
    rows = []
    chosen = iter(ranks)
    for place in find_layers(model, selection):
        layer = model.get_submodule(place.path)
        assert isinstance(layer, SoftThresholdLinear)
        for piece, factors in zip(place.pieces, layer.factors(), strict=True):
            rows.append(_where(place, piece) | _what(factors, next(chosen)))
    return rows


def _where(place: Place, piece: str) -> dict[str, Any]:
    kind = f"{place.type}.{piece}" if piece else place.type
    return {"module": place.path, "piece": piece, "stack": place.stack, "block": place.block, "type": kind}


def _what(factors: Factors, rank: int) -> dict[str, Any]:
    (m, n), scale, alpha = factors.shape, float(factors.scale), factors.alpha.item()
    spectrum = (factors.spectrum().detach() * factors.scale).sort(descending=True).values
    parameters = kept_parameters(rank, m, n)
    return {
        "m": m,
        "n": n,
        "rank": rank,
        "learned_rank": factors.rank(),
        "dense": parameters == m * n,
        "parameters": parameters,
        "threshold": alpha,
        "threshold_raw": alpha * scale,
        "threshold_of_largest": alpha * scale / float(spectrum[0]),
        "scale": scale,
        "spectrum": spectrum.tolist(),
    }


def ranks_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows of :func:`table_rows` as a table."""
    return pd.DataFrame(list(rows))
