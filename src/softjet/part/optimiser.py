"""Optimisers of the training, and which weights they treat alike."""

import torch
from torch import nn

from softjet.config.part import Training

ADAMW_BETAS = (0.9, 0.99)
RADAM_BETAS, RADAM_EPSILON = (0.95, 0.999), 1e-5
LOOKAHEAD_STEPS, LOOKAHEAD_SHARE = 6, 0.5


def optimiser_of(model: nn.Module, config: Training) -> torch.optim.Optimizer:
    """Optimiser that decays matrices, not biases, norms, scales or the class token.

    `ranger` is RAdam (arXiv 1908.03265) with decoupled weight decay inside Lookahead (arXiv 1907.08610), with
    the constants of Particle Transformer's training (arXiv 2202.03772).

    Parameters
    ----------
    model : nn.Module
        Its `head`, where it has one, learns `head_rate` times as fast.
    config : Training

    Returns
    -------
    Optimizer
        Each group has a `rate`, the factor on the learning rate; see `set_rate`.
    """
    groups = parameter_groups(model, config)
    if config.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=ADAMW_BETAS, fused=True)
    # A second of imports that only this optimiser needs.
    from pytorch_optimizer.optimizer.lookahead import Lookahead

    fast = torch.optim.RAdam(
        groups, config.learning_rate, RADAM_BETAS, RADAM_EPSILON, decoupled_weight_decay=True
    )
    return Lookahead(fast, LOOKAHEAD_STEPS, LOOKAHEAD_SHARE)


def parameter_groups(model: nn.Module, config: Training) -> list[dict]:
    """Matrices and other weights, of the body and, where its rate is another, of the head."""
    matrices = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate = config.head_rate if name.startswith("head.") else 1.0
        decay = config.weight_decay if name in matrices else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "rate": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its learning rate, `rate` times the group's own factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate"]
