"""Length and learning rate of a training."""

import math

from softjet.config.part import Training

DECAY = 0.3
"""Share of the stages in which a flat-exponential learning rate falls."""

LAST = 0.01
"""What it has fallen to, in units of the peak."""


def total_steps(config: Training, steps_per_epoch: int) -> int:
    """Steps of a training: as many as it says, or as its epochs have."""
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    return max(1, round(config.epochs * steps_per_epoch))


def learning_rate(step: int, steps: int, config: Training) -> float:
    """Learning rate of a step.

    Linear warm-up to the peak, then as `config.schedule` says: half a cosine to zero, flat then exponential,
    or constant.

    Parameters
    ----------
    step : int
        0 is the first.
    steps : int
        Steps in all.
    config : Training

    Returns
    -------
    float
        Of the weights whose factor is 1.
    """
    warmup = round(config.warmup * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "cosine":
        share = (step - warmup) / max(1, steps - warmup)
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
    if config.schedule == "flat-exponential":
        return config.learning_rate * flat_exponential(step * config.stages // steps, config.stages)
    return config.learning_rate


def flat_exponential(stage: int, stages: int) -> float:
    """Factor of a stage: 1 in the first 70 %, then falling by equal factors to 1 % in the last.

    As in weaver-core's `flat+decay`, whose stages are epochs (arXiv 2202.03772, section 5).

    Parameters
    ----------
    stage : int
        0 is the first.
    stages : int
        Stages in all.
    """
    falling = max(1, int(stages * DECAY))
    return LAST ** (max(0, stage - (stages - falling) + 1) / falling)
