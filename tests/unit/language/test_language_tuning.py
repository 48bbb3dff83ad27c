"""Training: recipe, resumption to the same bits, and what happens when it diverges."""

import math
import os
import signal
from collections.abc import Iterator

import pandas as pd
import pytest
import torch
from small_text import small_bert, small_gpt2, small_mamba, small_tokenizer
from torch.nn import functional

import softjet.language.tuning as tuning_module
from softjet.config.language import Tuning
from softjet.errors import InputError
from softjet.language.batch import Batch
from softjet.language.batches import ClassificationLoader, TextLoader
from softjet.language.losses import answer, task_loss
from softjet.language.optimiser import learning_rate, optimiser_of
from softjet.language.tuning import tune

SETTINGS = Tuning(steps=12, batch_size=4, learning_rate=0.01, save_every=1e-9)


def classifier_loader():
    texts = ["a b c", "d e", "a a a a", "e", "d d e f", "b c a"] * 4
    table = pd.DataFrame({"text": texts, "pair": None, "label": [int("a" in text) for text in texts]})
    return ClassificationLoader(table, small_tokenizer(), 4, 1, 8)


def text_loader():
    table = pd.DataFrame({"text": ["a b c d e f g h i j " * 20]})
    return TextLoader(table, small_tokenizer(False), 4, 1, 10)


KINDS = {
    "bert": (small_bert, classifier_loader),
    "gpt2": (small_gpt2, text_loader),
    "mamba": (small_mamba, text_loader),
}


@pytest.mark.parametrize("kind", KINDS)
def test_loss_falls_and_history_tells_the_schedule(kind, tmp_path):
    make, loader = KINDS[kind]
    settings = SETTINGS.model_copy(update={"steps": 60, "save_every": 60.0})
    model = make()
    history = tune(model, loader(), settings, tmp_path)
    assert list(history.columns) == ["step", "loss", "lr"]
    assert history["step"].tolist() == list(range(1, 61))
    assert history["loss"][-10:].mean() < 0.7 * history["loss"][:5].mean()
    assert history["lr"].tolist() == [learning_rate(step, settings) for step in range(60)]
    assert not model.training


def test_rate_rises_over_a_tenth_and_falls_linearly():
    settings = Tuning(steps=100, learning_rate=1.0)
    rates = [learning_rate(step, settings) for step in range(100)]
    assert rates[0] == 0.1
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(1 / 90)
    assert learning_rate(0, Tuning(steps=1, learning_rate=1.0)) == 1.0


@pytest.mark.parametrize("make", [small_bert, small_gpt2, small_mamba])
def test_matrices_decay_and_nothing_else(make):
    model = make()
    decayed, others = optimiser_of(model, Tuning(weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    inside = {names[id(parameter)] for parameter in decayed["params"]}
    assert len(inside) + len(others["params"]) == len(names)
    assert not any("embed" in name or "wte" in name or "A_log" in name or "norm" in name for name in inside)
    assert all(name.endswith("weight") for name in inside)
    linear = {n for n in names.values() if n.endswith(("query.weight", "c_attn.weight", "in_proj.weight"))}
    assert linear
    assert linear <= inside


class Fixed(torch.nn.Module):
    """A model whose gradient has the norm 30."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))


@pytest.mark.parametrize(("clip", "norm"), [(1.0, 1.0), (None, 30.0), (100.0, 30.0)])
def test_gradient_is_clipped(monkeypatch, tmp_path, clip, norm):
    model = Fixed()
    monkeypatch.setattr(tuning_module, "task_loss", lambda model, batch: 30 * model.weight[0])
    tune(model, classifier_loader(), SETTINGS.model_copy(update={"steps": 1, "clip": clip}), tmp_path)
    assert model.weight.grad.norm() == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_loss_is_computed_in_the_chosen_precision(monkeypatch, tmp_path, precision):
    kinds = []

    def noted(model, batch):
        kinds.append((model.weight[:, None] @ model.weight[None]).dtype)
        return model.weight[0]

    monkeypatch.setattr(tuning_module, "task_loss", noted)
    settings = SETTINGS.model_copy(update={"steps": 1, "precision": precision})
    tune(Fixed(), classifier_loader(), settings, tmp_path)
    assert kinds == [getattr(torch, precision)]


def unbroken(kind, folder):
    make, loader = KINDS[kind]
    model = make()
    return model.state_dict(), tune(model, loader(), SETTINGS, folder)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])  # both have dropout
@pytest.mark.parametrize("last", [1, 5, 12])
def test_killed_training_goes_on_to_the_same_bits(kind, last, tmp_path):
    weights, history = unbroken(kind, tmp_path / "unbroken")
    child = os.fork()
    if child == 0:
        step, done = tuning_module.learning_rate, iter(range(1, 100))

        def die(*given):
            if next(done) > last:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*given)

        tuning_module.learning_rate = die
        unbroken(kind, tmp_path / "killed")
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == (-signal.SIGKILL if last < 12 else 0)
    assert len(torch.load(tmp_path / "killed/tuning.pt", weights_only=True)["history"]) == last
    torch.manual_seed(99)
    resumed, again = unbroken(kind, tmp_path / "killed")
    pd.testing.assert_frame_equal(again, history, check_exact=True)
    assert all(torch.equal(resumed[name], weight) for name, weight in weights.items())


def test_dropout_follows_the_seed_of_the_training_alone(tmp_path):
    torch.manual_seed(5)
    first = unbroken("bert", tmp_path / "a")[1]
    torch.manual_seed(6)
    before = torch.get_rng_state()
    model, other = small_bert(), SETTINGS.model_copy(update={"seed": 2})
    torch.set_rng_state(before)
    again = tune(model, classifier_loader(), SETTINGS, tmp_path / "b")
    assert torch.equal(torch.get_rng_state(), before)
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert not first.equals(tune(small_bert(), classifier_loader(), other, tmp_path / "c"))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_divergence_names_the_step_and_keeps_the_last_good_state(what, monkeypatch, tmp_path):
    usual, calls = tuning_module.task_loss, iter(range(1, 100))

    def breaking(model, batch):
        loss = usual(model, batch)
        if next(calls) < 4:
            return loss
        if what == "loss":
            return loss * math.nan
        return loss + torch.sqrt(model.classifier.weight[0, 0] * 0)

    monkeypatch.setattr(tuning_module, "task_loss", breaking)
    model = small_bert()
    with pytest.raises(InputError, match="step 4: the " + what):
        tune(model, classifier_loader(), SETTINGS, tmp_path)
    state = torch.load(tmp_path / "tuning.pt", weights_only=True)
    assert len(state["history"]) == 3
    assert all(torch.equal(state["model"][name], weight) for name, weight in model.state_dict().items())


def test_state_of_other_settings_is_refused(tmp_path):
    unbroken("bert", tmp_path)
    with pytest.raises(InputError, match="belong to another training"):
        tune(small_bert(), classifier_loader(), SETTINGS.model_copy(update={"seed": 9}), tmp_path)


def test_no_steps_leave_the_model_as_it_is(tmp_path):
    model = small_bert()
    history = tune(model, classifier_loader(), SETTINGS.model_copy(update={"steps": 0}), tmp_path)
    assert history.empty
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), small_bert().parameters(), strict=True))


def first(loader) -> Iterator[Batch]:
    return next(loader.evaluation())


def test_loss_of_a_classifier_is_transformers_own():
    model, batch = small_bert().eval(), first(classifier_loader())
    theirs = model(batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels)
    torch.testing.assert_close(task_loss(model, batch), theirs.loss)
    assert torch.equal(answer(model, batch), theirs.logits)


@pytest.mark.parametrize("make", [small_gpt2, small_mamba])
def test_loss_of_a_language_model_is_transformers_own(make):
    model, batch = make().eval(), first(text_loader())
    batch.labels[:, :4] = -100
    theirs = model(batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels)
    torch.testing.assert_close(task_loss(model, batch), theirs.loss)
    logits = answer(model, batch)
    assert logits.shape == (4 * 6, 30)
    torch.testing.assert_close(functional.cross_entropy(logits, batch.labels[:, 4:].flatten()), theirs.loss)


def test_types_of_a_pair_reach_only_a_model_that_has_them():
    table = pd.DataFrame({"text": ["a b"], "pair": ["c"], "label": [1]})
    batch = first(ClassificationLoader(table, small_tokenizer(), 1, 1, 8))
    given = {"attention_mask": batch.attention_mask}
    for size in (1, 2):
        model = small_bert(type_vocab_size=size).eval()
        types = batch.token_type_ids if size == 2 else torch.zeros_like(batch.token_type_ids)
        assert torch.equal(answer(model, batch), model(batch.input_ids, token_type_ids=types, **given).logits)
