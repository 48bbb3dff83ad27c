"""Record attention as a Particle Transformer computes it, and prove that it is what the model used.

Hooks stand on the model's own attention modules and keep the queries, keys and values that each of them made
of its own input, and the weights that it multiplied the values with. Both are held to each other and to the
output that the block went on with; the largest difference is kept.
"""

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from softjet.part.blocks import without_padding


@dataclass(frozen=True)
class Layer:
    """Attention of one layer for B jets, H heads, T queries and S keys.

    weights : (B, H, T, S), each real query's weights add up to 1; 0 where query or key is padding.
    logits : (B, H, T, S), of which they are the softmax; anything where query or key is padding.
    bias : (B, H, T, S) or None, the part that the pair features give, as the module got it.
    residual : (B,), or of those jets that were looked at: largest |out_proj(A V) - block output|, or
        |softmax(qk + bias) - A| if that is more, over the real queries of each jet.
    finite : (B,) bool, whether what the module gave is a number everywhere.
    """

    weights: Tensor
    logits: Tensor
    bias: Tensor | None
    residual: Tensor
    finite: Tensor
    _qk: Callable[[], Tensor]

    @cached_property
    def qk(self) -> Tensor:
        """The part of the logits that the particles give, q.k / sqrt(D), (B, H, T, S); 0 at padding."""
        return self._qk()


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
        By layer, see :class:`Layer`.
    """

    weights: list[Tensor]
    qk: list[Tensor]
    bias: Tensor
    class_weights: list[Tensor]
    residuals: dict[str, Tensor]

    @property
    def residual(self) -> float:
        """Largest of all layers and jets."""
        return float(torch.stack([worst.max() for worst in self.residuals.values()]).max())

    def check(self, bound: float) -> None:
        """Stop where the record is not what the model computed.

        Raises
        ------
        ArithmeticError
            A layer's residual is above `bound`, or not a number; the message names both.
        """
        for name, worst in self.residuals.items():
            check_residual(name, float(worst.max()), bound)


def check_residual(layer: str, residual: float, bound: float) -> None:
    """Stop where the residual of a layer is above the bound, or not a number.

    Raises
    ------
    ArithmeticError
        It names layer and residual.
    """
    if not residual <= bound:
        raise ArithmeticError(
            f"attention of {layer}: recorded weights miss the block's output, or what made them, by "
            f"{residual:.2e}, more than {bound:.0e}"
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
    layers: dict[str, Layer] = {}
    with watching(model, layers.__setitem__):
        model(features, vectors, mask)
    particle, cls = (
        [layer for name, layer in layers.items() if name.startswith(kind)] for kind in ("blocks", "class")
    )
    bias = particle[0].bias
    assert bias is not None
    return Recording(
        weights=[layer.weights for layer in particle],
        qk=[layer.qk for layer in particle],
        bias=bias,
        class_weights=[layer.weights for layer in cls],
        residuals={name: layer.residual for name, layer in layers.items()},
    )


@contextmanager
def watching(model: nn.Module, see: Callable[[str, Layer], None], every: int = 1) -> Iterator[None]:
    """While the block lasts, hand over the attention of every layer as the model computes it.

    The model is in evaluation mode meanwhile, without gradients and autocast, and left as it was.

    Parameters
    ----------
    model : ParticleTransformer
    see : callable
        Gets the name ("blocks.0", ..., "class_blocks.0", ...) and the attention of each layer in turn, in the
        thread that runs the model; several may. What it does not keep is freed, so that memory holds one
        layer.
    every : int
        One jet in so many of each batch, the first among them, is held to the output.
    """
    modules = _attention_of(model, "blocks") | _attention_of(model, "class_blocks")
    with _evaluation(model), ExitStack() as hooks:
        for name, module in modules.items():
            hooks.enter_context(_watched(module, partial(see, name), every))
        yield


def attend(
    projected: tuple[Tensor, Tensor, Tensor],
    logits: Tensor,
    weights: Tensor,
    out_proj: nn.Module,
    real: Tensor,
    bias: Tensor | None,
    output: Tensor,
    every: int = 1,
) -> Layer:
    """Attention of one module, its weights held to its queries and keys and to its output.

    Parameters
    ----------
    projected : q (B, H, T, D), k and v (B, H, S, D)
        What the module made of its input.
    logits, weights : (B, H, T, S)
        What it took the softmax of, and multiplied the values with; weights are set to 0 at padding.
    out_proj : Module
        Its output projection.
    real : (B, S) bool
        Keys that are not padding. Where T equals S, they are the real queries too.
    bias : (B, H, T, S) or None
        Pair bias.
    output : (B, T, W)
        What the module gave.
    every : int
        Of so many jets one is looked at for the residual.
    """
    q, k, v = projected
    queries = real if q.shape[2] == real.shape[1] else real.new_ones(len(real), q.shape[2])
    if not real.all():
        # A product, since filling in takes four times as long; what stands at padding is finite.
        weights.mul_(queries[:, None, :, None])
    some = slice(None, None, every)
    qk = _products(q[some], k[some], queries[some], real[some])
    missed = torch.maximum(
        _missed_output(weights[some], v[some], out_proj, output[some]),
        _missed_weights(weights[some], qk, None if bias is None else bias[some], real[some]),
    ).masked_fill_(~queries[some], 0)
    finite = output.sum((1, 2)).isfinite()
    return Layer(weights, logits, bias, missed.amax(-1), finite, partial(_products, q, k, queries, real))


def _products(q: Tensor, k: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """q.k / sqrt(D), (B, H, T, S); 0 where query or key is padding."""
    qk = (q @ k.mT).mul_(q.shape[-1] ** -0.5)
    if not keys.all():
        qk.mul_((queries[:, :, None] & keys[:, None, :])[:, None])
    return qk


def _missed_output(weights: Tensor, values: Tensor, out_proj: nn.Module, output: Tensor) -> Tensor:
    """Largest |out_proj(A V) - block output| of each query, (B, T)."""
    again = out_proj((weights @ values).transpose(1, 2).flatten(2))
    return (again - output).abs().amax(-1)


def _missed_weights(weights: Tensor, qk: Tensor, bias: Tensor | None, real: Tensor) -> Tensor:
    """Largest |softmax(qk + bias) - A| of each query, (B, T)."""
    logits = qk if bias is None else qk + bias
    again = (logits + without_padding(real, logits)).softmax(-1)
    return (again - weights).abs().amax((1, 3))


def _attention_of(model: nn.Module, blocks: str) -> dict[str, nn.Module]:
    """Attention modules of a list of blocks, by name, in order."""
    return {
        f"{blocks}.{i}": model.get_submodule(f"{blocks}.{i}.attention")
        for i in range(len(model.get_submodule(blocks)))  # type: ignore[arg-type]
    }


@contextmanager
def _watched(module: Any, see: Callable[[Layer], None], every: int) -> Iterator[None]:
    """Hand over what the module attends to at each of its calls."""
    project, mix, edit, own = module.project, module.mix, module.edit, threading.local()

    def keep(query: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        own.projected = project(query, source)
        return own.projected

    def keep_logits(logits: Tensor, values: Tensor) -> Tensor:
        own.logits = logits
        return mix(logits, values)

    def keep_weights(weights: Tensor) -> Tensor:
        own.weights = weights if edit is None else edit(weights)
        return own.weights

    def observe(module: Any, args: tuple, kwargs: dict[str, Any], output: Tensor) -> None:
        given = inspect.signature(module.forward).bind(*args, **kwargs)
        given.apply_defaults()
        real, bias = (given.arguments[name] for name in ("real", "bias"))
        projected, logits, weights = (own.__dict__.pop(name) for name in ("projected", "logits", "weights"))
        see(attend(projected, logits, weights, module.out_proj, real, bias, output, every))

    hook = module.register_forward_hook(observe, with_kwargs=True)
    module.project, module.mix, module.edit = keep, keep_logits, keep_weights
    try:
        yield
    finally:
        del module.project, module.mix
        module.edit = edit
        hook.remove()


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
