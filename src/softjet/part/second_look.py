"""The classes of float32 at nearly the speed of bfloat16: close calls are answered again."""

import torch
from torch import Tensor, nn

from softjet.part.inference import InferenceModel
from softjet.part.model import ParticleTransformer


class SecondLook(nn.Module):
    """A Particle Transformer in bfloat16 whose close calls another in float32 answers once more.

    Rounding changes a jet's class only where two classes are about as likely, so that few jets are to be
    looked at again.

    Parameters
    ----------
    model : ParticleTransformer
        Trained.
    margin : float
        A call is close if the probabilities of its two likeliest classes, in bfloat16, differ by less.
    prepared : type
        :class:`softjet.part.inference.InferenceModel`, or :class:`softjet.part.native.NativeModel`.

    Raises
    ------
    InputError
        As of `prepared`.
    """

    def __init__(
        self,
        model: ParticleTransformer,
        margin: float = 0.015,
        prepared: type[InferenceModel] = InferenceModel,
    ) -> None:
        super().__init__()
        self.fast, self.exact = prepared(model, "bfloat16"), prepared(model, "float32")
        self.margin = margin

    @torch.inference_mode()
    def forward(self, features: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        """Logits of the classes, float32; arguments as of :meth:`ParticleTransformer.forward`."""
        logits: Tensor = self.fast(features, vectors, mask)
        rows = self.close(logits).nonzero().squeeze(1)
        if len(rows):
            logits[rows] = self.exact(features[rows], vectors[rows], mask[rows])
        return logits

    def close(self, logits: Tensor) -> Tensor:
        """Which jets' two likeliest classes are less than the margin apart; shapes (B, C) -> (B,)."""
        first, second = logits.softmax(1).topk(2, dim=1).values.unbind(1)
        return first - second < self.margin
