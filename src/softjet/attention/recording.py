"""Record attention as a Particle Transformer computes it, and prove that it is what the model used.

Hooks stand on the model's own attention modules, so what is recorded belongs to each block's own input.
From it queries, keys and values are projected again, and the output they give must equal the output that
the block went on with; the largest difference is kept.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """Attention of one layer for B jets, H heads, T queries and S keys.

    weights : (B, H, T, S), each real query's weights add up to 1; 0 where query or key is padding.
    qk : (B, H, T, S), q.k / sqrt(D), the part of the logit that the particles give; 0 at padding.
    bias : (B, H, T, S) or None, the part that the pair features give; 0 at padding.
    residual : (B,), largest |out_proj(A V) - block output| over the real queries of each jet.
    """

    weights: Tensor
    qk: Tensor
    bias: Tensor | None
    residual: Tensor


@dataclass(frozen=True)
class Recording:
    """Attention of every layer and head for B jets of up to P particles.

    Attributes
    ----------
    weights : list over particle layers of (B, H, P, P)
        Softmax of qk + bias; rows are queries, columns keys; 0 where either is padding.
    qk : list over particle layers of (B, H, P, P)
        q.k / sqrt(D).
    bias : (B, H, P, P)
        Pair bias U, shared by all particle layers.
    class_weights : list over class layers of (B, H, 1, P + 1)
        What the class token attends to: itself (first), then the particles.
    residuals : dict of (B,)
        By layer, the largest |out_proj(A V) - block output| over each jet's real queries.
    """

    weights: list[Tensor]
    qk: list[Tensor]
    bias: Tensor
    class_weights: list[Tensor]
    residuals: dict[str, Tensor]

    @property
    def residual(self) -> float:
        """Largest |out_proj(A V) - block output| of all layers and jets."""
        return float(torch.stack([worst.max() for worst in self.residuals.values()]).max())

    def check(self, bound: float) -> None:
        """Stop where the record is not what the model computed.

        Raises
        ------
        ArithmeticError
            A layer's residual is above `bound`, or not a number; the message names both.
        """
        for name, worst in self.residuals.items():
            value = float(worst.max())
            if not value <= bound:
                raise ArithmeticError(
                    f"attention of {name}: recorded weights miss the block's output by {value:.2e}, "
                    f"more than {bound:.0e}"
                )


def record(model: nn.Module, features: Tensor, vectors: Tensor, mask: Tensor) -> Recording:
    """Attention of every layer and head of a Particle Transformer.

    Parameters
    ----------
    model : ParticleTransformer
        It is run once, in evaluation mode and without autocast, and left as it was.
    features, vectors, mask : (B, F, P), (B, 4, P) in GeV, (B, 1, P)
        Inputs of the model; mask is True for real particles.

    Returns
    -------
    Recording
        With the residual of every layer; `Recording.check` bounds it.
    """
    particle, cls = _attention_of(model, "blocks"), _attention_of(model, "class_blocks")
    layers: dict[str, Layer] = {}
    with _evaluation(model), _watch(particle | cls, layers):
        model(features, vectors, mask)
    bias = layers[next(iter(particle))].bias
    assert bias is not None
    return Recording(
        weights=[layers[name].weights for name in particle],
        qk=[layers[name].qk for name in particle],
        bias=bias,
        class_weights=[layers[name].weights for name in cls],
        residuals={name: layer.residual for name, layer in layers.items()},
    )


def attend(
    module: nn.Module, query: Tensor, source: Tensor, real: Tensor, bias: Tensor | None, output: Tensor
) -> Layer:
    """Attention of one module from its own input, compared with its own output.

    Parameters
    ----------
    module : Attention
        With `project(query, source) -> q, k, v` of (B, H, T or S, D), and `out_proj`.
    query, source : (B, T, W), (B, S, W)
        What attends, and what is attended to.
    real : (B, S) bool
        Keys that are not padding. Where T equals S, they are the real queries too.
    bias : (B, H, T, S) or None
        Pair bias.
    output : (B, T, W)
        What the module gave.
    """
    q, k, v = module.project(query, source)  # type: ignore[operator]
    qk = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    queries = real if query.shape[1] == real.shape[1] else real.new_ones(query.shape[:2])
    pairs = (queries[:, :, None] & real[:, None, :])[:, None]
    logits = qk if bias is None else qk + bias
    weights = logits.masked_fill(~real[:, None, None, :], -torch.inf).softmax(-1)
    again = module.out_proj((weights @ v).transpose(1, 2).flatten(2))  # type: ignore[operator]
    missed = (again - output).abs().amax(-1).masked_fill(~queries, 0).amax(-1)
    return Layer(
        weights=weights.masked_fill(~pairs, 0),
        qk=qk.masked_fill(~pairs, 0),
        bias=None if bias is None else bias.masked_fill(~pairs, 0),
        residual=missed,
    )


def _attention_of(model: nn.Module, blocks: str) -> dict[str, nn.Module]:
    """Attention modules of a list of blocks, by name, in order."""
    return {
        f"{blocks}.{i}": model.get_submodule(f"{blocks}.{i}.attention")
        for i in range(len(model.get_submodule(blocks)))  # type: ignore[arg-type]
    }


@contextmanager
def _watch(modules: Mapping[str, nn.Module], layers: dict[str, Layer]) -> Iterator[None]:
    """Fill `layers` while the model runs."""

    def observe(name: str, module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Tensor) -> None:
        given = inspect.signature(module.forward).bind(*args, **kwargs)
        given.apply_defaults()
        given.arguments |= {"output": output}
        layers[name] = attend(module, **given.arguments)

    with ExitStack() as hooks:
        for name, module in modules.items():
            hook = module.register_forward_hook(partial(observe, name), with_kwargs=True)
            hooks.callback(hook.remove)
        yield


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, no autocast; every module's mode comes back."""
    training = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device.type
    try:
        model.eval()
        with torch.inference_mode(), torch.autocast(device, enabled=False):
            yield
    finally:
        for module, mode in training.items():
            module.training = mode
