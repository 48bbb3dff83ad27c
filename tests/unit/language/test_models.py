import json
import logging
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, LlamaForSequenceClassification

from softjet.errors import InputError
from softjet.language.models import CLASSES, build_model, describe, load_model, new_model, save_model
from softjet.lowrank import Shares, load_compressed, save_compressed

SMALL = {
    "bert": {
        "vocab_size": 60,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    },
    "gpt2": {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "mamba": {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
}
SMALL["mpnet"] = SMALL["bert"]
SMALL["llama"] = SMALL["bert"] | {"num_key_value_heads": 1}
LABELS = {"bert": 3, "mpnet": 3}


def small(family, seed=1):
    return new_model(family, SMALL[family], seed, LABELS.get(family))


def answer(model):
    with torch.no_grad():
        return model(torch.arange(4, 24).reshape(2, 10)).logits


@pytest.mark.parametrize("family", list(CLASSES))
def test_model_is_saved_and_loaded_to_the_bit(tmp_path, family):
    model = small(family)
    save_model(tmp_path, model)
    loaded = load_model(tmp_path, family)
    assert torch.equal(answer(loaded), answer(model))
    assert answer(model).shape == ((2, 3) if family in LABELS else (2, 10, 60))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert not loaded.training


def tied(model):
    """Whether the output layer has the embedding's weight, not a copy of it."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("family", list(CLASSES))
def test_description_builds_the_same_model(family):
    model = small(family)
    about = json.loads(json.dumps(describe(model)))
    built = build_model(about)
    built.load_state_dict(model.state_dict())
    assert torch.equal(answer(built), answer(model))
    assert describe(built) == describe(model)
    assert tied(built) == tied(model)


def test_seed_alone_gives_the_weights():
    torch.manual_seed(5)
    first = answer(small("gpt2"))
    state = torch.get_rng_state()
    torch.manual_seed(6)
    assert torch.equal(answer(small("gpt2")), first)
    assert not torch.equal(answer(small("gpt2", seed=2)), first)
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), state)


def test_new_head_of_a_model_with_another_task_comes_of_the_seed(tmp_path, caplog):
    caplog.set_level(logging.INFO, "softjet")
    other = BertForMaskedLM(BertConfig(**SMALL["bert"]))
    other.save_pretrained(tmp_path)
    models = [load_model(tmp_path, "bert", labels=2, seed=seed) for seed in (1, 1, 2)]
    heads = [model.classifier.weight for model in models]
    assert heads[0].shape == (2, 16)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    inside = "encoder.layer.0.attention.self.query.weight"
    assert torch.equal(models[0].bert.get_parameter(inside), other.bert.get_parameter(inside))
    told = f"{tmp_path}: bert.pooler and classifier: not among the weights; made new"
    assert caplog.messages == [told] * 3


@pytest.mark.parametrize(("family", "last"), [("bert", "classifier"), ("mpnet", "classifier.out_proj")])
@pytest.mark.parametrize("labels", [2, 4])
def test_head_of_another_number_of_classes_comes_of_the_seed_too(tmp_path, family, last, labels, caplog):
    other = small(family)
    save_model(tmp_path, other)
    models = [load_model(tmp_path, family, labels=labels, seed=seed) for seed in (1, 1, 2)]
    heads = [model.get_submodule(last).weight for model in models]
    assert heads[0].shape == (labels, 16)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert models[0].config.num_labels == labels
    kept = {name: value for name, value in other.named_parameters() if not name.startswith(last)}
    assert all(torch.equal(models[0].get_parameter(name), value) for name, value in kept.items())
    told = f"{tmp_path}: classifier: is of 3 classes, the task has {labels}; a new one is made"
    assert caplog.messages == [told] * 3


@pytest.mark.parametrize("whole", [False, True])
def test_a_language_model_without_its_output_layer_is_refused(tmp_path, whole):
    other = small("llama")
    kind = LlamaForSequenceClassification(other.config) if whole else other.model
    kind.save_pretrained(tmp_path)
    refused(tmp_path, "llama", match=r"lm_head\.weight: is not among the weights \(1 are missing\); give")


@pytest.mark.parametrize("family", ["gpt2", "llama", "mamba"])
def test_an_output_layer_that_is_the_embedding_may_be_absent(tmp_path, family):
    model = new_model(family, SMALL[family] | {"tie_word_embeddings": True}, 1)
    model.base_model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path, family)
    assert tied(loaded)
    assert torch.equal(answer(loaded), answer(model))


@pytest.mark.parametrize(("values", "name"), [({"hidden_size": 20}, "bert"), ({}, r"classifier\.bias")])
def test_a_head_that_fits_neither_task_nor_configuration_is_refused(tmp_path, values, name):
    save_model(tmp_path, small("bert"))
    edit(tmp_path, id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1}, **values)
    refused(tmp_path, match=rf"{name}\S*: has the shape")


def test_half_precision_is_loaded_in_float32(tmp_path):
    save_model(tmp_path, small("llama").to(torch.bfloat16))
    assert {value.dtype for value in load_model(tmp_path, "llama").parameters()} == {torch.float32}


def refused(folder, family="bert", match=""):
    with pytest.raises(InputError, match=match) as caught:
        load_model(folder, family)
    assert "\n" not in str(caught.value)


def test_pickle_is_refused_and_not_loaded(tmp_path):
    save_model(tmp_path, small("bert"))
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
    refused(tmp_path, match=r"pytorch_model\.bin: is a pickle and is not loaded")
    assert not (tmp_path / "ran").exists()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def edit(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_code_is_refused(tmp_path):
    save_model(tmp_path, small("bert"))
    edit(tmp_path, auto_map={"AutoModel": "evil.Evil"})
    refused(tmp_path, match="auto_map: asks to run its author's code")


CHOSEN = [
    ("attn_implementation", "evil/kernel"),
    ("_attn_implementation", "evil/kernel@main:attend"),
    ("attn_implementation", {"": "evil/kernel"}),
    ("attn_implementation", "flash_attention_2"),
    ("_attn_implementation", "paged|flash_attention_3"),
    ("experts_implementation", "sonicmoe"),
    ("_experts_implementation", "evil/kernel"),
]
"""What makes transformers fetch code from the hub, where the package kernels is installed."""


@pytest.fixture
def no_kernels(monkeypatch):
    """See that nothing is so much as looked for."""

    def fetched(*args, **given):
        raise AssertionError((args, given))

    for name in ("lazy_import_flash_attention", "is_kernels_available"):
        monkeypatch.setattr(f"transformers.modeling_utils.{name}", fetched)


@pytest.mark.parametrize(("key", "value"), CHOSEN)
def test_code_of_the_hub_is_refused(tmp_path, key, value, no_kernels):
    save_model(tmp_path, small("bert"))
    edit(tmp_path, **{key: value})
    refused(tmp_path, match=rf"config\.json: {key}: is .*, for which code would be fetched")
    about = json.loads(json.dumps(describe(small("bert"))))
    about["config"][key] = value
    with pytest.raises(InputError, match=f"description: {key}: is .*, for which code would be fetched"):
        build_model(about)


def test_code_of_the_hub_is_refused_in_the_file_that_config_json_points_to(tmp_path, no_kernels):
    save_model(tmp_path, small("bert"))
    edit(tmp_path, attn_implementation="evil/kernel")
    (tmp_path / "config.json").rename(tmp_path / "config.5.0.0.json")
    about = {"model_type": "bert", "configuration_files": ["config.5.0.0.json"]}
    (tmp_path / "config.json").write_text(json.dumps(about))
    refused(tmp_path, match="attn_implementation: is 'evil/kernel'")


def test_packed_weights_are_refused(tmp_path):
    save_model(tmp_path, small("llama"))
    edit(tmp_path, quantization_config=None)
    assert load_model(tmp_path, "llama")
    edit(tmp_path, quantization_config={"quant_method": "mxfp4"})
    refused(tmp_path, "llama", match="quantization_config: says that the weights are packed")


@pytest.mark.parametrize("value", [None, "eager", "sdpa"])
def test_attention_of_torch_is_taken(tmp_path, value):
    model = small("llama")
    save_model(tmp_path, model)
    for key in ("attn_implementation", "_attn_implementation"):
        edit(tmp_path, **{key: value})
        loaded = load_model(tmp_path, "llama")
        assert loaded.config._attn_implementation == (value or "sdpa")
        torch.testing.assert_close(answer(loaded), answer(model))


@pytest.mark.parametrize("values", [{"num_labels": 3_000_000}, {"id2label": dict.fromkeys(range(100_001))}])
def test_classes_without_end_are_refused_before_they_are_made(tmp_path, values):
    save_model(tmp_path, small("bert"))
    edit(tmp_path, **{"id2label": None, "label2id": None} | values)
    (key,) = values
    refused(tmp_path, match=rf"config\.json: {key}: has \d+ classes; a model of at most 100000 is built")
    with pytest.raises(InputError, match=f"description: {key}: has .* classes"):
        build_model({"class": CLASSES["bert"], "config": SMALL["bert"] | values})


def test_another_family_is_refused(tmp_path):
    save_model(tmp_path, small("gpt2"))
    refused(tmp_path, "llama", match="model_type: is 'gpt2', not 'llama'")


def test_weights_that_are_missing_damaged_or_of_another_shape_are_refused(tmp_path):
    refused(tmp_path, match=r"config\.json: file: cannot be read")
    save_model(tmp_path, small("bert"))
    edit(tmp_path, num_hidden_layers=3)
    refused(tmp_path, match=r"bert\.encoder\.layer\.2\.\S+: is not among the weights")
    edit(tmp_path, num_hidden_layers=2, intermediate_size=40)
    shapes = r"has the shape \(32,\), and config\.json asks for \(40,\); fetch"
    refused(tmp_path, match=rf"bert\.encoder\.layer\.0\.intermediate\.dense\.bias: {shapes}")
    edit(tmp_path, intermediate_size=32)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    refused(tmp_path, match="cannot be loaded")
    (tmp_path / "model.safetensors").unlink()
    refused(tmp_path, match=r"model\.safetensors: is absent")
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, match="JSON: is damaged")


IMPOSSIBLE = [
    ("bert", {"hidden_act": "nonsense"}, "hidden_act: is 'nonsense'; known to transformers are ", ""),
    ("gpt2", {"activation_function": "gelu_nope"}, "activation_function: is 'gelu_nope'; known ", ""),
    ("mamba", {"hidden_act": "silu2"}, "hidden_act: is 'silu2'", ""),
    ("bert", {"vocab_size": 0}, "vocab_size: is 0; a model knows at least one token", ""),
    ("llama", {"vocab_size": -1}, "vocab_size: is -1", ""),
    ("llama", {"pad_token_id": 99}, "LlamaForCausalLM: cannot be built .Padding_idx", "Padding_idx"),
    ("llama", {"rope_parameters": {"rope_type": "yarn"}}, "cannot be built .*yarn.*factor", "yarn.*factor"),
]
"""Family, values, what is said of them, and what is where that differs once they are loaded."""


@pytest.mark.parametrize(
    ("family", "architecture", "match"),
    [
        ("gpt2", {"n_layers": 2}, "n_layers: unknown key; did you mean 'n_layer'"),
        ("bert", {"num_labels": "x", "zzz": 1}, "unknown key"),
        ("llama", {"hidden_size": "wide"}, "cannot be built"),
        ("bert", {"hidden_size": 10, "num_attention_heads": 3}, "cannot be built"),
        *((family, SMALL[family] | values, match) for family, values, match, _ in IMPOSSIBLE),
    ],
)
def test_impossible_architecture_is_one_line(family, architecture, match):
    with pytest.raises(InputError, match=match) as caught:
        new_model(family, architecture, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("family", "values", "match", "when_loaded"), IMPOSSIBLE)
def test_impossible_values_of_a_file_are_one_line(tmp_path, family, values, match, when_loaded):
    model = small(family)
    save_model(tmp_path / "dense", model)
    edit(tmp_path / "dense", **values)
    refused(tmp_path / "dense", family, match=rf"dense.*{when_loaded or match}")
    about = {"kind": "transformers", **describe(model)}
    about["config"] |= values
    save_compressed(
        tmp_path, model, base_model="", licence="", how={}, kept=Shares(1, 1, 1), architecture=about
    )
    with pytest.raises(
        InputError, match=rf"config\.json: architecture: builds no model: .*{match}"
    ) as caught:
        load_compressed(tmp_path)
    assert "\n" not in str(caught.value)


def test_names_of_any_family_are_keys():
    assert new_model("gpt2", {"hidden_size": 16, "num_hidden_layers": 1, "n_head": 2, "vocab_size": 60}, 1)


def test_class_outside_the_list_is_refused():
    with pytest.raises(InputError, match="class: is 'OPTForCausalLM'; known are BertFor"):
        build_model({"class": "OPTForCausalLM", "config": {}})


@pytest.mark.parametrize("family", ["gpt2", "llama", "mamba"])
def test_an_output_layer_that_is_not_the_table_is_said_to_be_its_own(tmp_path, family):
    """Whatever the configuration says: the description builds a model with as many tensors."""
    model = small(family)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    save_model(tmp_path, model)
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = torch.randn(model.get_input_embeddings().weight.shape)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = load_model(tmp_path, family)
    torch.testing.assert_close(loaded.get_output_embeddings().weight, weights["lm_head.weight"])
    again = build_model(describe(loaded))
    again.load_state_dict(loaded.state_dict())
    assert not tied(again)
