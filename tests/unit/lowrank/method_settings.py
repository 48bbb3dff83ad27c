"""Every method of rank learning on the small network."""

from small_network import SELECTION, SETTINGS, batches, loss, network

from softjet.lowrank import learn_ranks

METHODS = (
    "soft-threshold",
    "svd",
    "energy-svd",
    "whitened-svd",
    "learned-mask",
    "whitened-soft-threshold",
    "fisher-soft-threshold",
    "fisher-svd",
    "dense",
)
MASK = {"mask_weight": 0.01, "mask_rate": 0.1}
TOTAL = SETTINGS.learn_steps + SETTINGS.recover_steps


def settings_of(method, **changes):
    rate = SETTINGS.threshold_rate if method == "soft-threshold" else 0.3
    given = {"method": method, "calibration": 3, "threshold_rate": rate}
    return SETTINGS.model_copy(update=given | MASK | changes)


def answer(model, batch):
    return model(batch[0])


def run(method, folder, model=None, stream=batches, task=loss, price=None, **changes):
    """Run a method; returns the model and its two tables."""
    model = network() if model is None else model
    settings = settings_of(method, **changes)
    return model, *learn_ranks(model, SELECTION, stream, task, settings, folder, answer=answer, price=price)
