"""AdamW as transformers are fine-tuned with: which weights decay, and the learning rate of a step."""

import torch
from torch import nn

from softjet.config.language import Tuning


def optimiser_of(model: nn.Module, settings: Tuning) -> torch.optim.AdamW:
    """AdamW that decays matrices, not offsets, norms, embeddings (and what is tied to them) or scales."""
    modules = list(model.modules())
    embeddings = {id(module.weight) for module in modules if isinstance(module, nn.Embedding)}
    named = (getattr(module, "weight", None) for module in modules)
    matrices = {id(w) for w in named if isinstance(w, nn.Parameter) and w.dim() > 1} - embeddings
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if id(parameter) in matrices]
    others = [parameter for parameter in trained if id(parameter) not in matrices]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=settings.learning_rate, fused=True
    )


def learning_rate(step: int, settings: Tuning) -> float:
    """Learning rate of a step, the first being 0: a linear rise to the full one, then a linear fall.

    The first step has a rate above zero and so has the last; the step after the last would have zero.
    """
    rise = round(settings.warmup * settings.steps)
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    return settings.learning_rate * (settings.steps - step) / (settings.steps - rise)
