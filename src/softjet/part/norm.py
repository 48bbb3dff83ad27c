"""Batch normalisation that does the same in training as in evaluation, whichever jets share a batch."""

import torch
from torch import Tensor, nn
from torch.nn import functional

MOMENTUM = 0.05
"""Weight of a batch in the running averages."""


class BatchRenorm1d(nn.BatchNorm1d):
    """Batch renormalisation (S. Ioffe, arXiv 1702.03275) of rows.

    BatchNorm1d normalises by the batch in training and by running averages in evaluation. Where a step is cut
    into pieces of like length, or is small, a batch's statistics are not those of all jets, and a network
    trained with it meets other inputs in evaluation. Here the running averages normalise in training too;
    gradients flow through the batch's own mean and variance, as in BatchNorm1d, which keeps training stable.

    The running averages are plain means over the first 1 / MOMENTUM batches.

    Parameters
    ----------
    channels : int
        Channels of a row.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=MOMENTUM)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name is nn.BatchNorm1d's)
        """Normalise.

        Parameters
        ----------
        input : Tensor, shape (n, channels)

        Returns
        -------
        Tensor, shape (n, channels)
        """
        if not self.training:
            return super().forward(input)
        mean, variance = batch_statistics(input.detach())
        usual_mean, usual_variance = self._follow(mean, variance)
        scale = ((variance + self.eps) / (usual_variance + self.eps)).sqrt()
        shift = (mean - usual_mean) / (usual_variance + self.eps).sqrt()
        weight, bias = self.weight * scale, self.weight * shift + self.bias
        return functional.batch_norm(input, None, None, weight, bias, training=True, eps=self.eps)

    def _follow(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Take a batch into the running averages, and give them."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = max(MOMENTUM, 1 / self.num_batches_tracked.item())
        return self.running_mean.lerp_(mean, share), self.running_var.lerp_(variance, share)


def usual_affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Scale and shift by which a batch normalisation acts in evaluation, shape (channels,) each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def batch_statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (over n, not n - 1) of each column, by the fastest way on a processor.

    Those of bfloat16 rows are float32.
    """
    precise = torch.promote_types(rows.dtype, torch.float32)
    mean, variance = (torch.zeros(rows.shape[1], dtype=precise, device=rows.device) for _ in range(2))
    functional.batch_norm(rows, mean, variance, training=True, momentum=1.0)
    return mean, variance * ((len(rows) - 1) / len(rows))
