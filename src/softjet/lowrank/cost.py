"""Multiply-accumulates of linear layers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from softjet.lowrank.layer import LowRankLinear, SoftThresholdLinear, linear_weights


def linear_macs(model: nn.Module, call: Callable[[], Any]) -> dict[str, int]:
    """Count the multiply-accumulates of the model's linear layers in one call.

    Each layer counts as the rows it really gets times its parameters, so tokens, particles, pairs and the
    class token each count as often as they are computed, padding included. Offsets, products of activations
    and everything else than linear layers stand apart. One MAC is two FLOPs.

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
        if isinstance(module, (nn.Linear, SoftThresholdLinear, LowRankLinear))
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
        rows = inputs[0].numel() // inputs[0].shape[-1]
        macs[path] = macs.get(path, 0) + rows * linear_weights(module)

    return count
