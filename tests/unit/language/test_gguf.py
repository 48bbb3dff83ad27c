import gguf
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from softjet.errors import InputError
from softjet.language.models import load_model, save_model
from softjet.language.tokenizers import load_tokenizer

HEADS, GROUPS, WIDTH = 4, 2, 32
NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "ab", "▁ab"]


def llama():
    torch.manual_seed(1)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(TOKENS),
            hidden_size=WIDTH,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=HEADS,
            num_key_value_heads=GROUPS,
            max_position_embeddings=64,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
        )
    ).eval()


def interleaved(rows, heads):
    """Rows in the order of llama.cpp: those of a pair stand side by side."""
    size = len(rows) // heads
    order = [
        head * size + half * size // 2 + i
        for head in range(heads)
        for i in range(size // 2)
        for half in (0, 1)
    ]
    return rows[order]


def write(path, model, kind=None, add=lambda writer: None):
    """A GGUF file of a model, its matrices quantised if a kind is given; gives the weights that it holds.

    `add` puts more into it.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([-float(number) for number in range(len(TOKENS))])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * 5)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    stored = {}
    state = model.state_dict()
    for name, theirs in tensor_names().items():
        value = state[name].numpy()
        heads = HEADS if "q_proj" in name else GROUPS if "k_proj" in name else None
        turned = value if heads is None else interleaved(value, heads)
        if kind is None or value.ndim == 1:
            writer.add_tensor(theirs, np.ascontiguousarray(turned))
            stored[name] = value
        else:
            packed = gguf.quantize(np.ascontiguousarray(turned), kind)
            writer.add_tensor(theirs, packed, raw_dtype=kind)
            back = gguf.dequantize(packed, kind)
            undo = np.argsort(interleaved(np.arange(len(back)), heads)) if heads else np.arange(len(back))
            stored[name] = back[undo]
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


def tensor_names():
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    for layer in range(2):
        for ours, theirs in NAMES.items():
            names[f"model.layers.{layer}.{ours}.weight"] = f"blk.{layer}.{theirs}.weight"
    return names


@pytest.mark.parametrize("kind", [None, gguf.GGMLQuantizationType.Q8_0])
def test_gguf_gives_the_model_that_was_written(tmp_path, kind):
    model = llama()
    stored = write(tmp_path / "model.gguf", model, kind)
    expected = {name: torch.from_numpy(value.copy()) for name, value in stored.items()}
    model.load_state_dict(expected | {"lm_head.weight": expected["model.embed_tokens.weight"]})
    loaded = load_model(tmp_path, "llama")
    tokens = torch.arange(3, 43).reshape(2, 20)
    with torch.no_grad():
        torch.testing.assert_close(loaded(tokens).logits, model(tokens).logits, rtol=1e-5, atol=1e-6)
    assert next(loaded.parameters()).dtype == torch.float32
    assert not loaded.training


def test_no_bar_of_another_package_gets_into_a_log(tmp_path, capfd):
    write(tmp_path / "model.gguf", llama())
    load_model(tmp_path, "llama")
    assert capfd.readouterr().err == ""


def test_what_a_gguf_gave_is_saved_and_loaded_to_the_bit(tmp_path):
    write(tmp_path / "model.gguf", llama(), gguf.GGMLQuantizationType.Q4_1)
    loaded = load_model(tmp_path, "llama")
    save_model(tmp_path / "plain", loaded)
    again = load_model(tmp_path / "plain", "llama")
    tokens = torch.arange(3, 43).reshape(2, 20)
    with torch.no_grad():
        assert torch.equal(loaded(tokens).logits, again(tokens).logits)
    assert not getattr(again.config, "quantization_config", None)
    assert again.lm_head.weight is again.model.embed_tokens.weight


def test_tokenizer_of_a_gguf(tmp_path):
    write(tmp_path / "model.gguf", llama())
    tokenizer = load_tokenizer(tmp_path, len(TOKENS))
    assert tokenizer.convert_ids_to_tokens(tokenizer("ab", add_special_tokens=False).input_ids) == ["▁ab"]
    assert tokenizer.eos_token_id == 2


def test_another_architecture_or_a_damaged_file_is_one_line(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "bert")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InputError, match="architecture: is 'bert'; only llama is read"):
        load_model(tmp_path, "llama")
    (tmp_path / "model.gguf").write_bytes(b"GGU")
    with pytest.raises(InputError, match="GGUF: cannot be read") as caught:
        load_model(tmp_path, "llama")
    assert "\n" not in str(caught.value)


def test_a_gguf_for_another_family_is_one_line(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"")
    with pytest.raises(InputError, match=r"family: .* for bert"):
        load_model(tmp_path, "bert")


def scaling(kind, factor):
    def add(writer):
        writer.add_rope_scaling_type(kind)
        writer.add_rope_scaling_factor(factor)

    return add


def tensor(name, *values):
    return lambda writer: writer.add_tensor(name, np.array(values, np.float32))


LINEAR, YARN, NONE = (getattr(gguf.RopeScalingType, name) for name in ("LINEAR", "YARN", "NONE"))


@pytest.mark.parametrize(
    ("add", "field"),
    [
        (scaling(LINEAR, 4.0), r"llama\.rope\.scaling\.factor: is 4\.0"),
        (scaling(YARN, 4.0), r"llama\.rope\.scaling\.type: is 'yarn'"),
        (lambda writer: writer.add_rope_scaling_factor(2.0), r"llama\.rope\.scaling\.factor: is 2\.0"),
        (
            lambda writer: writer.add_float32("llama.rope.scale_linear", 2.0),
            r"llama\.rope\.scale_linear: is 2\.0",
        ),
        (
            lambda writer: writer.add_rope_scaling_attn_factors(2.0),
            r"llama\.rope\.scaling\.attn_factor: is 2\.0",
        ),
        (tensor("rope_freqs.weight", 1, 1, 1, 8), r"rope_freqs\.weight: scales positions"),
        (
            tensor("blk.0.attn_q.bias", *[0.5] * WIDTH),
            r"blk\.0\.attn_q\.bias: is a tensor that Llama does not",
        ),
        (tensor("blk.2.attn_norm.weight", *[1] * WIDTH), r"blk\.2\.attn_norm\.weight: is a tensor"),
    ],
)
def test_what_would_be_left_out_of_a_gguf_is_refused(tmp_path, add, field):
    write(tmp_path / "model.gguf", llama(), add=add)
    with pytest.raises(
        InputError, match=rf"model\.gguf: {field}.*read: give the model's plain files"
    ) as caught:
        load_model(tmp_path, "llama")
    assert "\n" not in str(caught.value)
    assert load_tokenizer(tmp_path, len(TOKENS)).eos_token_id == 2


@pytest.mark.parametrize(
    "add",
    [
        scaling(NONE, 1.0),
        scaling(LINEAR, 1.0),
        scaling(LINEAR, 0.0),
        tensor("rope_freqs.weight", 1, 1, 1, 1),
    ],
)
def test_positions_that_are_scaled_by_nothing_are_read(tmp_path, add):
    model = llama()
    write(tmp_path / "model.gguf", model, add=add)
    tokens = torch.arange(3, 43).reshape(2, 20)
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path, "llama")(tokens).logits, model(tokens).logits)
