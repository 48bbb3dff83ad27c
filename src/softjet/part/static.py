"""Inference without a shape that depends on data: for a GPU, which is not to wait for what it computes."""

from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from softjet.part.inference import InferenceModel
from softjet.part.model import ParticleTransformer
from softjet.part.pairs import dense_pair_features, mask_keys
from softjet.part.rows import through

MULTIPLE = 8
"""Particles are filled up to a multiple: PyTorch's fused attention wants its bias aligned."""


class StaticModel(InferenceModel):
    """The same function as :class:`InferenceModel`, all of it on padded jets.

    So it can be compiled, and captured as a CUDA graph (:class:`Replays`). On a GPU, where Triton is there
    and knows the widths, one kernel makes the bias of all pairs (:mod:`softjet.part.pair_kernel`).

    Parameters
    ----------
    model : ParticleTransformer
        Trained.
    precision : "float32" or "bfloat16"
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
        precision: Literal["float32", "bfloat16"] = "float32",
        fused: bool = True,
    ) -> None:
        super().__init__(model, precision)
        self.fused = _kernel(self) if fused else None

    def forward(self, features: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        """Logits of the classes, float32; arguments as of :meth:`ParticleTransformer.forward`."""
        spare = -mask.shape[-1] % MULTIPLE
        return super().forward(*(functional.pad(tensor, (0, spare)) for tensor in (features, vectors, mask)))

    def embedded(self, features: Tensor, real: Tensor) -> Tensor:
        """Embedded particles, 0 at padding; shape (B, P, W)."""
        return self.embed(self.normalised(features.transpose(1, 2))) * real[..., None]

    def pair_bias(self, vectors: Tensor, real: Tensor) -> Tensor:
        """Attention bias, -inf for padded keys; shape (B, H, P, P)."""
        if self.fused is not None and vectors.is_cuda:
            return self.fused(vectors, real)
        rows = dense_pair_features(vectors, self.config.pair_mass).flatten(0, 2)
        values = self.pair_embed.standardised(rows, self.dtype)
        embedded = through(values, self.pair_embed.folded(), differentiable=False)
        bias = embedded.unflatten(0, (*real.shape, real.shape[1])).permute(0, 3, 1, 2).contiguous()
        return mask_keys(bias, real)


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

    @torch.inference_mode()
    def __call__(self, features: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        """Logits of the classes, float32; arguments as of :meth:`ParticleTransformer.forward`."""
        inputs, shape = (features, vectors, mask), tuple(features.shape)
        if shape not in self._captured:
            self._captured[shape] = _capture(self.model, inputs)
        graph, places, logits = self._captured[shape]
        for place, given in zip(places, inputs, strict=True):
            place.copy_(given)
        graph.replay()
        return logits.clone()


def _capture(model: StaticModel, inputs: tuple[Tensor, ...]) -> tuple[Any, list[Tensor], Tensor]:
    places = [tensor.clone() for tensor in inputs]
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    # What is chosen or compiled in a first call must not be captured.
    with torch.cuda.stream(aside):
        for _ in range(2):
            model(*places)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = model(*places)
    return graph, places, logits
