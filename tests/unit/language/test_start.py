"""What is loaded fits the task that it is trained and judged on."""

import pytest
import torch

from softjet.errors import InputError
from softjet.language.glue import TASKS
from softjet.language.models import load_model, new_model, save_model
from softjet.language.start import PADDING, start_model, take_padding
from softjet.language.tokenizers import load_tokenizer, save_tokenizer, train_bpe

SMALL = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
MNLI = TASKS["mnli"].classes


def saved(folder, family="bert", names=(), labels=3):
    """A classifier in a folder, which numbers its classes in this order."""
    model = new_model(family, SMALL, 1, labels=labels)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.startswith("classifier") and name.endswith("bias"):
                value.copy_(torch.arange(len(value)))
    if names:
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {name: number for number, name in enumerate(names)}
    save_model(folder, model)
    return model


def answer(model):
    with torch.no_grad():
        return model(torch.arange(4, 24).reshape(2, 10)).logits


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_classes_in_another_order_are_numbered_as_the_task_does(tmp_path, family, caplog):
    other = saved(tmp_path, family, ("CONTRADICTION", "Entailment", "neutral"))
    started = start_model(family, "mnli", 16, 1, tmp_path)
    assert torch.equal(answer(started), answer(other)[:, [1, 2, 0]])
    assert started.config.id2label == dict(enumerate(MNLI))
    assert started.config.label2id == {name: number for number, name in enumerate(MNLI)}
    save_model(tmp_path / "start", started)
    assert torch.equal(answer(start_model(family, "mnli", 16, 1, tmp_path / "start")), answer(started))
    assert not caplog.messages


def test_names_of_two_words_are_the_same_however_they_are_joined(tmp_path, caplog):
    other = saved(tmp_path, names=("not entailment", "Entailment"), labels=2)
    assert torch.equal(answer(start_model("bert", "rte", 16, 1, tmp_path)), answer(other)[:, [1, 0]])
    assert not caplog.messages


@pytest.mark.parametrize("names", [(), MNLI, ("a", "b", "c"), ("entailment", "neutral", "neutral")])
def test_other_classes_are_taken_as_they_are_and_other_names_told(tmp_path, names, caplog):
    other = saved(tmp_path, names=names)
    started = start_model("bert", "mnli", 16, 1, tmp_path)
    assert torch.equal(answer(started), answer(other))
    assert started.config.id2label == other.config.id2label
    told = f"{tmp_path}: id2label: names {', '.join(names)}, taken for {', '.join(MNLI)} in this order"
    assert caplog.messages == ([told] if names and names != MNLI else [])


POSITIONS = {"bert": (34, 34), "mpnet": (34, 32), "gpt2": (34, 34)}


@pytest.mark.parametrize("family", POSITIONS)
@pytest.mark.parametrize("loaded", [False, True])
def test_a_length_beyond_the_positions_is_refused_before_the_training(tmp_path, family, loaded):
    rows, most = POSITIONS[family]
    architecture = {**SMALL, "max_position_embeddings": rows}
    task = "wikitext2" if family == "gpt2" else "rte"
    if family == "gpt2":
        del architecture["intermediate_size"]
    fitting = start_model(family, task, most, 1, architecture=architecture)
    assert fitting(torch.full((1, most), 5)).logits.isfinite().all()
    save_model(tmp_path, fitting)
    origin = {"weights": tmp_path} if loaded else {"architecture": architecture}
    match = rf"^task: length: is {most + 1}, and the model \({family}\) has {most} positions; lower it"
    with pytest.raises(InputError, match=match):
        start_model(family, task, most + 1, 1, **origin)
    with pytest.raises((IndexError, RuntimeError)):
        fitting(torch.full((1, most + 1), 5))


def test_a_length_beyond_rotary_positions_is_told(caplog):
    architecture = {**SMALL, "max_position_embeddings": 32}
    start_model("llama", "wikitext2", 32, 1, architecture=architecture)
    assert not caplog.messages
    start_model("llama", "wikitext2", 33, 1, architecture=architecture)
    assert caplog.messages == ["task: length: is 33, and the model (llama) is made for 32 positions"]


def test_a_model_without_positions_takes_any_length(caplog):
    architecture = {name: SMALL[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers")}
    start_model("mamba", "wikitext2", 100_000, 1, architecture=architecture)
    assert not caplog.messages


@pytest.mark.parametrize("family", ["bert", "mpnet", "gpt2", "llama", "mamba"])
def test_a_new_model_pads_with_what_its_tokenizer_pads_with(tmp_path, family):
    tokenizer = train_bpe(["a fine film!", "a dull one!!"] * 5, 280, PADDING.get(family, 0))
    known = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        *(["num_attention_heads"] * (family != "mamba")),
    )
    model = new_model(family, {name: SMALL[name] for name in known} | {"vocab_size": 280}, 1)
    take_padding(model, family, tokenizer)
    save_model(tmp_path, model)
    save_tokenizer(tmp_path, tokenizer)
    loaded, again = load_model(tmp_path, family), load_tokenizer(tmp_path, 280)
    pad = again.pad_token_id
    assert loaded.config.pad_token_id == (None if family == "gpt2" else pad)
    assert loaded.get_input_embeddings().padding_idx in (pad, None)
    assert pad not in again("a fine film!!!! \x00").input_ids


def test_a_tokenizer_that_pads_with_what_mpnet_takes_for_a_word_is_refused():
    model = new_model("mpnet", SMALL | {"vocab_size": 280}, 1)
    with pytest.raises(
        InputError, match=r"^tokenizer: pad_token: is token 0, and mpnet takes 1 for it; give"
    ):
        take_padding(model, "mpnet", train_bpe(["!"], 280))
