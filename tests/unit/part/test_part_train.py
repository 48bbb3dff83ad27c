import math

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from small_part import SMALL, Jets

from softjet.config.part import ParTRun, Training
from softjet.errors import InputError
from softjet.part.checkpoint import load_part
from softjet.part.optimiser import optimiser_of
from softjet.part.prediction import predict_loader
from softjet.part.schedule import learning_rate
from softjet.part.train import train_part

SETTINGS = Training(epochs=5, batch_size=16, learning_rate=0.01, validate_every=8, save_every=1e-6, seed=4)
RUN = ParTRun(model=SMALL.model_copy(update={"dropout": 0.1}), training=SETTINGS)


class Stopping(Jets):
    """Jets whose loader fails at a step, as a full disk or a signal would."""

    def __init__(self, *args, stop: int, **kwargs):
        super().__init__(*args, **kwargs)
        self.stop = stop

    def training(self, start_step=0, share=(0, 1)):
        for step, batch in enumerate(super().training(start_step, share), start=start_step):
            if step == self.stop:
                raise KeyboardInterrupt
            yield batch


def train(loader, folder, run=RUN):
    return train_part(run, loader, Jets(32, seed=1), folder / "out", folder / "state")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return train(Jets(64), folder), load_file(folder / "out/model.safetensors"), folder


def assert_same(folder, unbroken):
    history, weights, _ = unbroken
    resumed = load_file(folder / "out/model.safetensors")
    assert all(torch.equal(resumed[name], weight) for name, weight in weights.items())
    timeless = ["step", "loss", "lr", "validation_loss", "validation_accuracy"]
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "out/history.parquet")[timeless], history[timeless], check_exact=True
    )


def test_training_learns_and_tells_its_history(unbroken):
    history, _, folder = unbroken
    assert list(history["step"]) == list(range(1, 21))
    assert list(history.index[history["validation_loss"].notna()]) == [7, 15, 19]
    last = history.iloc[-1]
    assert last["validation_accuracy"] > 0.7
    assert last["validation_loss"] < 0.65
    assert history["loss"].tail(5).mean() < history["loss"].head(5).mean()
    assert (history["jets_per_second"] > 0).all()
    pd.testing.assert_frame_equal(history, pd.read_parquet(folder / "out/history.parquet"))


def test_written_model_is_the_last_one(unbroken):
    history, _, folder = unbroken
    logits, labels, _ = predict_loader(load_part(folder / "out"), Jets(32, seed=1))
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert loss == pytest.approx(history["validation_loss"].iloc[-1], abs=1e-6)


def test_same_seed_same_weights_other_seed_other_weights(tmp_path, unbroken):
    train(Jets(64), tmp_path / "same")
    assert_same(tmp_path / "same", unbroken)
    other = RUN.model_copy(update={"training": SETTINGS.model_copy(update={"seed": 5})})
    history = train(Jets(64), tmp_path / "other", other)
    assert (history["loss"] != unbroken[0]["loss"]).all()


@pytest.mark.parametrize("stop", [1, 9])
def test_interrupted_training_goes_on_to_the_same_weights(tmp_path, unbroken, stop):
    with pytest.raises(KeyboardInterrupt):
        train(Stopping(64, stop=stop), tmp_path)
    assert not (tmp_path / "out").exists()
    torch.manual_seed(99)
    train(Jets(64), tmp_path)
    assert_same(tmp_path, unbroken)
    assert not list((tmp_path / "state").rglob("*.pt"))


def test_unreadable_state_is_named(tmp_path):
    state = tmp_path / "state/state.pt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"state\.pt: state: cannot be read"):
        train(Jets(64), tmp_path)


def test_loss_that_is_not_a_number_stops_with_its_step(tmp_path):
    jets = Jets(64)
    jets.features[:] = torch.nan
    with pytest.raises(InputError, match="step 1: the loss is nan"):
        train(jets, tmp_path)
    assert not (tmp_path / "out").exists()


def test_learning_rate_rises_and_falls():
    config = Training(learning_rate=0.002, warmup=0.1)
    rates = [learning_rate(step, 100, config) for step in range(101)]
    assert rates[:10] == pytest.approx([0.0002 * (step + 1) for step in range(10)])
    assert max(rates) == rates[10] == 0.002
    assert rates[55] == pytest.approx(0.001)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert learning_rate(0, 100, Training(learning_rate=0.002, warmup=0)) == 0.002


def test_only_matrices_decay(model):
    free, decayed = optimiser_of(model, Training(weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0)
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {p.ndim for p in free["params"]} == {1, 3}
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


def test_long_gradients_are_clipped(tmp_path):
    """With a tiny clip and an optimiser that feels scale only through epsilon, weights hardly move."""
    tight = RUN.model_copy(update={"training": SETTINGS.model_copy(update={"clip": 1e-12})})
    history = train(Jets(64), tmp_path, tight)
    assert history["loss"].tail(5).mean() == pytest.approx(math.log(2), abs=0.25)
    assert history["validation_accuracy"].iloc[-1] < 0.7
