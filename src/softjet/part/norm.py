"""Batch normalisation that does the same in training as in evaluation, whichever jets share a batch."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

Statistics = tuple[Tensor, Tensor]
"""Mean and variance of each column."""

MOMENTUM = 0.05
"""Weight of a batch in the running averages."""


class BatchRenorm1d(nn.BatchNorm1d):
    """Batch renormalisation (S. Ioffe, arXiv 1702.03275) of rows.

    BatchNorm1d normalises by the batch in training and by running averages in evaluation. Where a step is cut
    into pieces of like length, or is small, a batch's statistics are not those of all jets, and a network
    trained with it meets other inputs in evaluation. Here the running averages normalise in training too;
    gradients flow through the batch's own mean and variance, as in BatchNorm1d, which keeps training stable.

    The running averages are plain means over the first 1 / MOMENTUM batches, and without a momentum over all.

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
        own = batch_statistics(input.detach())
        return _Renormalised.apply(input, self.weight, self.bias, own, self._follow(*own), self.eps)

    def _follow(self, mean: Tensor, variance: Tensor) -> Statistics:
        """Take a batch into the running averages, and give them."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = max(self.momentum or 0.0, 1 / self.num_batches_tracked.item())
        return self.running_mean.lerp_(mean, share), self.running_var.lerp_(variance, share)


class _Renormalised(torch.autograd.Function):
    """Normalisation by usual averages, with the gradient of one by the batch's own that is brought to these.

    Autograd would have to be shown both, and the batch's own statistics be taken once more on the way.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, own: Statistics, usual: Statistics, eps: float
    ) -> Tensor:
        ctx.save_for_backward(rows, weight, own[0], (own[1] + eps).rsqrt())
        deviation = (usual[1] + eps).sqrt()
        ctx.scale, ctx.shift = (own[1] + eps).sqrt() / deviation, (own[0] - usual[0]) / deviation
        ctx.eps = eps
        return functional.batch_norm(rows, *usual, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, mean, inverse = ctx.saved_tensors
        of_rows, of_scaled, of_bias = torch.ops.aten.native_batch_norm_backward(
            upstream, rows, weight * ctx.scale, None, None, mean, inverse, True, ctx.eps, [True] * 3
        )
        return of_rows, of_scaled * ctx.scale + of_bias * ctx.shift, of_bias, None, None, None


def usual_affine(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Scale and shift by which a batch normalisation acts in evaluation, shape (channels,) each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def batch_statistics(rows: Tensor) -> Statistics:
    """Mean and variance (over n, not n - 1) of each column, by the fastest way on a processor.

    Those of bfloat16 rows are float32.
    """
    precise = torch.promote_types(rows.dtype, torch.float32)
    mean, variance = (torch.zeros(rows.shape[1], dtype=precise, device=rows.device) for _ in range(2))
    torch.batch_norm_update_stats(rows, mean, variance, 1.0)
    return mean, variance * ((len(rows) - 1) / len(rows))
