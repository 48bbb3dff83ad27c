"""Multiply-accumulates of linear layers and factored embedding tables."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from softjet.lowrank.dense import is_linear
from softjet.lowrank.embedding import LowRankEmbedding, SoftThresholdEmbedding
from softjet.lowrank.layer import LOW_RANK, SOFT, linear_weights


def linear_macs(model: nn.Module, call: Callable[[], Any]) -> dict[str, int]:
    """Count the multiply-accumulates of the model's linear layers in one call.

    Each layer counts as the rows it really gets times its parameters, so tokens, particles, pairs and the
    class token each count as often as they are computed, padding included. A dense embedding table costs
    nothing, a factored one the product with its second matrix. Offsets, products of activations and
    everything else stand apart, and so does a layer whose weight is read while it is never called (dt_proj of
    transformers' Mamba). One MAC is two FLOPs.

    Parameters
    ----------
    model : nn.Module
        Dense, learning (counted as what it fuses to) or fused.
    call : callable
        Runs the model once, on the number of jets or tokens that the count is to be for.

    Returns
    -------
    dict
        MACs by path of the layer; their sum is the cost of the call.
    """
    macs: dict[str, int] = {}
    handles = [
        module.register_forward_hook(_counter(macs, path))
        for path, module in model.named_modules()
        if is_linear(module) or isinstance(module, (*SOFT, *LOW_RANK))
    ]
    try:
        with torch.no_grad():
            call()
    finally:
        for handle in handles:
            handle.remove()
    return macs


def _counter(macs: dict[str, int], path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Any], None]:
    def count(module: nn.Module, inputs: tuple[Tensor, ...], _output: Any) -> None:
        if isinstance(module, (SoftThresholdEmbedding, LowRankEmbedding)):
            each, rows = _lookup(module), inputs[0].numel()
        else:
            each, rows = linear_weights(module), inputs[0].numel() // inputs[0].shape[-1]
        macs[path] = macs.get(path, 0) + rows * each

    return count


def _lookup(table: SoftThresholdEmbedding | LowRankEmbedding) -> int:
    """Multiply-accumulates of one row of a factored table."""
    if isinstance(table, LowRankEmbedding):
        return table.inner.numel()
    (m, n), rank = table.table.shape, table.table.rank()
    return rank * n if table.table.parameters_at(rank) < m * n else 0
