"""What decides which directions of a matrix pass: a threshold on their size, or a mask of its own."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from softjet.lowrank.threshold import soft_threshold

MARGIN = 0.01
"""Distance of a threshold below the value that it must not pass, relative; bfloat16 resolves 0.004."""


class Gate(nn.Module):
    """Turns the singular values of a matrix, in units of its scale, into those that the matrix is made of.

    Attributes
    ----------
    by_size : bool
        A direction's fate depends on its size alone: after a fresh decomposition the gate is what it was.
    """

    by_size: bool = True

    def selected(self, x: Tensor) -> Tensor:
        """Directions that pass, bool, shape (k,)."""
        raise NotImplementedError

    def margins(self, x: Tensor) -> Tensor:
        """How clearly each direction passes, shape (k,); a budget admits directions in this order."""
        raise NotImplementedError

    def hold_floor(self, x: Tensor, rank: int) -> None:
        """Let at least `rank` directions pass clearly."""
        raise NotImplementedError

    def freeze(self) -> None:
        """Put the gate out of the reach of any optimiser."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Gate":
        # A model may go to bfloat16; a gate decides by small differences and stays float32.
        precise_values = [parameter.detach().clone() for parameter in self.parameters()]
        super()._apply(fn, recurse)
        for parameter, value in zip(self.parameters(), precise_values, strict=True):
            parameter.data = value.to(parameter.device, precise(parameter))
        return self


class SoftGate(Gate):
    """A learned soft threshold on the singular values.

    Parameters
    ----------
    sharpness : float
        s of the soft threshold.

    Attributes
    ----------
    alpha : Parameter, shape ()
        The threshold in units of the matrix's scale; starts at 0.
    """

    def __init__(self, sharpness: float = 50.0) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Singular values behind the threshold, shape (k,)."""
        return soft_threshold(x, self.alpha, self.sharpness)

    @torch.no_grad()
    def selected(self, x: Tensor) -> Tensor:
        """Directions above the threshold."""
        return x > self.alpha

    @torch.no_grad()
    def margins(self, x: Tensor) -> Tensor:
        """Height over the threshold."""
        return x - self.alpha

    @torch.no_grad()
    def hold_floor(self, x: Tensor, rank: int) -> None:
        """Lower the threshold, where needed, until at least `rank` directions lie clearly above it."""
        kth = x.topk(min(rank, len(x))).values[-1]
        self.alpha.clamp_(min=0.0).clamp_(max=(1 - MARGIN) * kth)


class MaskGate(Gate):
    """A learned mask: a direction passes whole where its score is positive.

    The gradient of the mask goes straight through to the scores: a direction that is off can come back.

    Parameters
    ----------
    directions : int
        Directions of the matrix.

    Attributes
    ----------
    scores : Parameter, shape (k,)
        Start at 1.

    References
    ----------
    ACIP (arXiv 2502.01717).
    """

    by_size = False

    def __init__(self, directions: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.ones(directions))

    def forward(self, x: Tensor) -> Tensor:
        """Singular values where the mask is on and 0 elsewhere, shape (k,)."""
        mask = (self.scores > 0).to(x.dtype)
        return x * (mask + self.scores - self.scores.detach())

    @torch.no_grad()
    def selected(self, x: Tensor) -> Tensor:  # noqa: ARG002
        """Directions with a positive score."""
        return self.scores > 0

    @torch.no_grad()
    def margins(self, x: Tensor) -> Tensor:  # noqa: ARG002
        """The scores."""
        return self.scores.clone()

    @torch.no_grad()
    def hold_floor(self, x: Tensor, rank: int) -> None:
        """Raise the highest scores, where needed, until at least `rank` are clearly positive."""
        highest = self.scores.topk(min(rank, len(x))).indices
        self.scores[highest] = self.scores[highest].clamp(min=MARGIN)

    def l1(self) -> Tensor:
        """L1 norm of the scores that are on, the penalty of the mask; a direction that is off has none."""
        return self.scores.clamp(min=0).sum()


NewGate = Callable[[int], Gate]
"""Makes the gate of a matrix from the number of its directions."""


def soft_gate(directions: int, sharpness: float = 50.0) -> SoftGate:  # noqa: ARG001
    """Make a soft threshold, the same for any number of directions."""
    return SoftGate(sharpness)


def precise(tensor: Tensor) -> torch.dtype:
    """The tensor's type, but at least float32."""
    return torch.promote_types(tensor.dtype, torch.float32)
