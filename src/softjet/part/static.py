"""Inference without a shape that depends on data: for a GPU, which is not to wait for what it computes."""

import logging
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from softjet.part.inference import InferenceModel, InferencePrecision
from softjet.part.model import ParticleTransformer
from softjet.part.packing import ALIGNED
from softjet.part.pairs import dense_pair_features, mask_keys

log = logging.getLogger(__name__)

CHECKED = 8
"""Jets on which the kernel is checked before it is trusted: what compiles it has been seen to err."""

LIMITS = {torch.float32: 1e-3, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Distance of its bias from PyTorch's, relative to the latter, that a precision may make."""


class StaticModel(InferenceModel):
    """The same function as :class:`InferenceModel`, all of it on padded jets.

    So it can be compiled, and captured as a CUDA graph (:class:`Replays`). On a GPU, where Triton is there
    and knows the widths, one kernel makes the bias of all pairs (:mod:`softjet.part.pair_kernel`), once it
    has given PyTorch's on the first jets.

    Parameters
    ----------
    model : ParticleTransformer
        Trained.
    precision : "float32", "bfloat16" or "float16"
    fused : bool
        Whether pairs may go through the kernel.

    Raises
    ------
    InputError
        As of :class:`InferenceModel`.
    """

    def __init__(
        self,
        model: ParticleTransformer,
        precision: InferencePrecision = "float32",
        fused: bool = True,
    ) -> None:
        super().__init__(model, precision)
        self.fused, self.checked = _kernel(self) if fused else None, False

    def forward(self, features: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        """Logits of the classes, float32; arguments as of :meth:`ParticleTransformer.forward`."""
        spare = -mask.shape[-1] % ALIGNED
        return super().forward(*(functional.pad(tensor, (0, spare)) for tensor in (features, vectors, mask)))

    def embedded(self, features: Tensor, real: Tensor) -> Tensor:
        """Embedded particles, 0 at padding; shape (B, P, W)."""
        return self.embed(self.normalised(features.transpose(1, 2))) * real[..., None]

    def pair_bias(self, vectors: Tensor, real: Tensor) -> Tensor:
        """Attention bias, -inf for padded keys; shape (B, H, P, P)."""
        if self.fused is None or not vectors.is_cuda:
            return self._bias_by_pytorch(vectors, real)
        if not self.checked:
            self._check(self.fused, vectors[:CHECKED], real[:CHECKED])
            return self.pair_bias(vectors, real)
        return self.fused(vectors, real)

    def _check(self, fused: nn.Module, vectors: Tensor, real: Tensor) -> None:
        """Give the kernel up if it errs."""
        self.checked = True
        if not agree(fused(vectors, real), self._bias_by_pytorch(vectors, real), real):
            log.warning("the kernel for pairs gives another bias than PyTorch here, so PyTorch makes it")
            self.fused = None

    def _bias_by_pytorch(self, vectors: Tensor, real: Tensor) -> Tensor:
        rows = dense_pair_features(vectors, self.config.pair_mass).flatten(0, 2)
        bias = (
            self.embedded_pairs(rows)
            .unflatten(0, (*real.shape, real.shape[1]))
            .permute(0, 3, 1, 2)
            .contiguous()
        )
        return mask_keys(bias, real)


def agree(found: Tensor, expected: Tensor, real: Tensor) -> bool:
    """Tell whether two biases (B, H, P, P) of the same precision are one but for rounding.

    What padding in `real` (B, P) asks for is not looked at.
    """
    rows, others = (bias.transpose(1, 2)[real].float() for bias in (found, expected))
    known = others.isfinite()
    if not torch.equal(rows.isfinite(), known):
        return False
    distance = (rows - others)[known].norm() / others[known].norm()
    return bool(distance <= LIMITS[expected.dtype])


def _kernel(model: InferenceModel) -> nn.Module | None:
    """The kernel for a model's pairs, where it can be had."""
    if find_spec("triton") is None:
        return None
    from softjet.part.pair_kernel import FusedPairBias, fits

    embed = model.pair_embed
    return FusedPairBias(embed, model.config.pair_mass, model.dtype) if fits(embed) else None


class Replays:
    """Answers of a model by CUDA graphs, one a shape, captured when it is first seen.

    A small batch keeps a GPU waiting for what the processor has yet to launch; a graph is launched at once.

    Parameters
    ----------
    model : StaticModel
        On a GPU.
    """

    def __init__(self, model: StaticModel) -> None:
        self.model = model
        self._captured: dict[tuple[int, ...], tuple[Any, list[Tensor], Tensor]] = {}
        # One graph is replayed at a time, and its logits are copied: all can work in the same memory.
        self._memory = torch.cuda.graph_pool_handle()

    @torch.inference_mode()
    def __call__(self, features: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        """Logits of the classes, float32; arguments as of :meth:`ParticleTransformer.forward`."""
        inputs, shape = (features, vectors, mask), tuple(features.shape)
        if shape not in self._captured:
            self._captured[shape] = _capture(self.model, inputs, self._memory)
        graph, places, logits = self._captured[shape]
        for place, given in zip(places, inputs, strict=True):
            place.copy_(given)
        graph.replay()
        return logits.clone()


def _capture(model: StaticModel, inputs: tuple[Tensor, ...], memory: Any) -> tuple[Any, list[Tensor], Tensor]:
    places = [tensor.clone() for tensor in inputs]
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    # What is chosen or compiled in a first call must not be captured.
    with torch.cuda.stream(aside):
        for _ in range(2):
            model(*places)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=memory):
        logits = model(*places)
    return graph, places, logits
