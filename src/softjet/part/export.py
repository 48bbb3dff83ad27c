"""Particle Transformer as an ONNX file."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from softjet.errors import InputError
from softjet.jets.features import FEATURES
from softjet.jets.schema import CLASSES
from softjet.onnx_file import write_onnx
from softjet.part.model import ParticleTransformer
from softjet.part.pairs import dense_pair_features

OUTPUT = "logits"


class DenseTransformer(nn.Module):
    """The same function in evaluation, computed on padding too, since ONNX has no packed pairs.

    Parameters
    ----------
    model : ParticleTransformer
        Its weights are shared.
    """

    def __init__(self, model: ParticleTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        """Logits, as of `ParticleTransformer`."""
        real = mask.squeeze(1)
        x = self.model.embed.layers(self.model.embed.norm(features).transpose(1, 2))
        x = x.masked_fill(~real[..., None], 0)
        return self.model.head(self.model.aggregate(x, real, self._bias(vectors, real)))

    def _bias(self, vectors: Tensor, real: Tensor) -> Tensor:
        """Bias U by the pairs i >= j and their mirror images."""
        pairs = dense_pair_features(vectors, self.model.config.pair_mass)
        shape = pairs.shape[:3]
        embedded = self.model.pair_embed(pairs.flatten(0, 2)).unflatten(0, shape).permute(0, 3, 1, 2)
        both = (real[:, :, None] & real[:, None, :])[:, None]
        lower = embedded.masked_fill(~both, 0).tril()
        return lower + lower.tril(-1).mT


def export_onnx(model: ParticleTransformer, path: str | Path, classes: Sequence[str] = CLASSES) -> None:
    """Write the model for ONNX runtimes, with dynamic batch and particle axes.

    Inputs are `features` (float32, B x F x P), `vectors` (float32, B x 4 x P: px, py, pz, energy in GeV) and
    `mask` (bool, B x 1 x P; every jet has a particle), the output is `logits` (float32, B x C). The metadata
    name the features and classes in order.

    Parameters
    ----------
    model : ParticleTransformer
        In float32; exported as it evaluates.
    path : path
        The `.onnx` file, in operator set 20.
    classes : sequence of str
        Names of the classes in the order of the logits.

    Raises
    ------
    InputError
        As many names as the model has classes are needed.
    """
    config = model.config
    if len(classes) != config.classes:
        raise InputError("classes", f"{len(classes)} names", f"the model has {config.classes}: name each")
    example = {
        "features": torch.zeros(2, len(FEATURES[config.features]), 3),
        "vectors": torch.ones(2, 4, 3),
        "mask": torch.ones(2, 1, 3).bool(),
    }
    axes = {0: "batch", 2: "particles"}
    names = {"features": ",".join(FEATURES[config.features]), "classes": ",".join(classes)}
    was_training = model.training
    write_onnx(DenseTransformer(model.eval()), example, (axes, axes, axes), [OUTPUT], path, names)
    model.train(was_training)
