"""The published recipe against weaver-core's own optimiser and scheduler."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from weaver.train import init_opt
from weaver.utils.nn.optimizer.ranger import Ranger

from softjet.config.part import Training
from softjet.part.optimiser import optimiser_of, set_rate
from softjet.part.schedule import learning_rate

STEPS = 50
RANGER = Training(optimiser="ranger", weight_decay=0.01, learning_rate=1e-3)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 3))


def descend(model, optimiser, rate=lambda step: 1e-3):
    """Losses of a toy problem."""
    generator = torch.Generator().manual_seed(7)
    x, teacher = torch.randn(512, 6, generator=generator), torch.randn(6, 3, generator=generator)
    labels, losses = (x @ teacher).argmax(1), []
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = rate(step)
        rows = torch.randint(512, (64,), generator=generator)
        loss = nn.functional.cross_entropy(model(x[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_ranger_steps_as_weavers(decay):
    ours, theirs = network(), network()
    config = RANGER.model_copy(update={"weight_decay": decay})
    matrices = [p for p in theirs.parameters() if p.ndim == 2]
    others = [p for p in theirs.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]

    def rate(step):
        return 0.02 if step < 30 else 0.005

    our_losses = descend(ours, optimiser_of(ours, config), rate)
    their_losses = descend(theirs, Ranger(groups, lr=1e-3), rate)
    assert our_losses[-1] < 0.8 * our_losses[0]
    torch.testing.assert_close(our_losses, their_losses, rtol=0, atol=1e-6)
    for name, weight in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name), weight, rtol=0, atol=1e-6, msg=name)


def weavers(model, epochs, scheduler, **options):
    arguments = SimpleNamespace(
        start_lr=1e-3, optimizer="ranger", load_epoch=None, lr_finder=None, num_epochs=epochs
    )
    arguments.lr_scheduler = scheduler
    return init_opt(arguments, model, **options)


@pytest.mark.parametrize("epochs", [1, 3, 20, 50])
def test_flat_exponential_is_weavers_flat_decay(epochs):
    optimiser, scheduler = weavers(network(), epochs, "flat+decay")
    config = Training(learning_rate=1e-3, schedule="flat-exponential", stages=epochs, warmup=0)
    for epoch in range(epochs):
        theirs = optimiser.param_groups[0]["lr"]
        ours = [learning_rate(step, 7 * epochs, config) for step in range(7 * epoch, 7 * epoch + 7)]
        assert ours == pytest.approx([theirs] * 7, rel=1e-12)
        optimiser.step()
        scheduler.step()


def test_fine_tuning_has_weavers_groups():
    model = nn.Module()
    model.body, model.head = nn.Linear(4, 4), nn.Linear(4, 2)
    theirs, _ = weavers(model, 20, "none", weight_decay=0.01, lr_mult=("head.*", 50))
    config = RANGER.model_copy(update={"head_rate": 50.0})
    ours = optimiser_of(model, config)
    set_rate(ours, 1e-3)

    def settings(optimiser):
        return {
            id(parameter): (group["lr"], group["weight_decay"])
            for group in optimiser.param_groups
            for parameter in group["params"]
        }

    assert settings(ours) == settings(theirs)
