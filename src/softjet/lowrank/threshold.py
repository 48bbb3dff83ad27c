"""The soft threshold of a spectrum."""

import torch
from torch import Tensor


def soft_threshold(sigma: Tensor, alpha: Tensor, sharpness: float = 50.0, leak: float = 0.0) -> Tensor:
    """Clip small singular values, differentiably in the value and in the threshold.

    S(x) = x tanh(s (x - alpha)) above alpha, -c tanh(s (x - alpha)) at and below it. Unlike the classical
    max(x - alpha, 0), a value well above the threshold stays as it is. With c = 0 a direction below the
    threshold is exactly 0 and gets no gradient.

    Parameters
    ----------
    sigma : Tensor, shape (k,)
        Singular values in units of their matrix's own scale, since s and alpha are numbers of order s^-1
        and one.
    alpha : Tensor, shape ()
        Threshold, in the same units.
    sharpness : float
        s, the inverse width of the rise above the threshold.
    leak : float
        c, what a value far below the threshold becomes.

    Returns
    -------
    Tensor, shape (k,)

    References
    ----------
    SoftLMs (arXiv 2411.10543); equations as in STAR-KV (arXiv 2606.08382).
    """
    rise = torch.tanh(sharpness * (sigma - alpha))
    return torch.where(sigma > alpha, sigma, -leak) * rise
