"""Every family of language models through rank learning: the dense answers, generation, the folder, ONNX."""

import copy

import onnxruntime
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from tiny_transformers import CAUSAL, VOCABULARY, logits, tiny, tokens
from torch import nn

from softjet.config.families import FAMILIES
from softjet.errors import InputError
from softjet.language.models import describe
from softjet.lowrank import Shares, fuse, linear_macs, load_compressed, parameter_counts, save_compressed
from softjet.lowrank.embedding import LowRankEmbedding, SoftThresholdEmbedding
from softjet.lowrank.onnx import export_onnx
from softjet.lowrank.ranks import table_rows
from softjet.lowrank.selection import all_factors, decompose, find_layers, set_form
from softjet.lowrank.shared import share_inputs

LANGUAGE = [family for family in FAMILIES if family != "part"]
TIED = ("gpt2", "mamba")

forms = pytest.mark.parametrize("form", ["pair", "pivot"])


def at_rank(family, rank=None, embeddings=True, form="pair"):
    model = tiny(family)
    decompose(model, FAMILIES[family], embeddings=embeddings)
    set_form(model, form)
    for factors in all_factors(model):
        factors.fix(rank or min(factors.shape))
    return model


def embedding(model, family):
    return model.get_submodule(FAMILIES[family].embeddings[0])


@pytest.mark.parametrize("embeddings", [False, True], ids=["blocks", "and embeddings"])
@pytest.mark.parametrize("family", LANGUAGE)
def test_at_full_rank_the_answers_are_those_of_the_dense_model(family, embeddings):
    dense = tiny(family)
    model = at_rank(family, embeddings=embeddings)
    torch.testing.assert_close(logits(model), logits(dense), rtol=1e-4, atol=1e-4)
    counts = [parameter_counts(m, FAMILIES[family], embeddings) for m in (dense, model)]
    torch.testing.assert_close(logits(fuse(model)), logits(dense), rtol=1e-4, atol=1e-4)
    counts.append(parameter_counts(model, FAMILIES[family], embeddings))
    assert counts[0] == counts[1] == counts[2]
    assert [type(m) for m in model.modules()] == [type(m) for m in dense.modules()]
    assert model.state_dict().keys() == dense.state_dict().keys()


# Trap 1: the fused model is the model that was trained, in every family.
@forms
@pytest.mark.parametrize("family", LANGUAGE)
def test_fused_models_answer_as_in_training(family, form):
    model = at_rank(family, 5, form=form)
    want, counts = logits(model), parameter_counts(model, FAMILIES[family], embeddings=True)
    fuse(model)
    torch.testing.assert_close(logits(model), want, rtol=1e-4, atol=1e-5)
    assert (logits(tiny(family)) - want).abs().max() > 0.01
    assert parameter_counts(model, FAMILIES[family], embeddings=True) == counts
    assert counts.total == sum(p.numel() for p in model.parameters())


@forms
@pytest.mark.parametrize("family", CAUSAL)
def test_generation_with_a_cache_is_that_without(family, form):
    dense, full, small = tiny(family), at_rank(family, form=form), fuse(at_rank(family, 6, form=form))
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    mask = torch.ones_like(tokens())
    assert torch.equal(
        full.generate(tokens(), attention_mask=mask, **options),
        dense.generate(tokens(), attention_mask=mask, **options),
    )
    generated = small.generate(tokens(), attention_mask=mask, **options)
    by_hand = tokens()
    for _ in range(4):
        by_hand = torch.cat([by_hand, logits(small, by_hand)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(generated, by_hand)


@pytest.mark.parametrize("family", CAUSAL)
def test_a_tied_output_layer_follows_its_table(family):
    model = tiny(family)
    assert (model.get_output_embeddings().weight is embedding(model, family).weight) == (family in TIED)
    model = at_rank(family, 6)
    before = parameter_counts(model, FAMILIES[family], embeddings=True)
    head, table = model.get_output_embeddings(), embedding(model, family)
    assert isinstance(table, SoftThresholdEmbedding)
    assert (family in TIED) == (not isinstance(head, nn.Linear) and head.factors() == table.factors())
    fuse(model)
    head, table = model.get_output_embeddings(), embedding(model, family)
    assert isinstance(table, LowRankEmbedding)
    if family in TIED:
        assert head.inner is table.inner
        assert head.outer[0] is table.outer
    assert parameter_counts(model, FAMILIES[family], embeddings=True) == before


def test_a_table_is_a_matrix_of_the_budget_but_not_of_the_blocks():
    selection, model = FAMILIES["gpt2"], tiny("gpt2")
    without, with_table = (parameter_counts(model, selection, flag) for flag in (False, True))
    assert with_table.linears - without.linears == VOCABULARY * 32
    assert with_table[1:] == without[1:]
    decompose(model, selection, embeddings=True)
    places = find_layers(model, selection, embeddings=True)
    assert places[0] == ("transformer.wte", "embeddings", 0, "transformer.wte", ("",))
    row = table_rows(model, selection, range(1, 14), embeddings=True)[0]
    assert (row["type"], row["m"], row["n"], row["rank"]) == ("transformer.wte", VOCABULARY, 32, 1)


def test_the_row_of_padding_stays_zero_and_gets_no_gradient():
    dense = nn.Embedding(20, 8, padding_idx=2)
    table = SoftThresholdEmbedding(dense)
    table.table.fix(8)
    ids = torch.tensor([[1, 2, 5]])
    torch.testing.assert_close(table(ids), dense(ids), rtol=1e-4, atol=1e-5)
    table(ids).sum().backward()
    assert table(ids)[0, 1].abs().max() < 1e-6
    assert table.table.left.grad[2].abs().max() < 1e-6
    assert table.table.left.grad[5].abs().max() > 1e-3
    table.table.fix(3)
    low = fuse(nn.Sequential(table))[0]
    low(ids).sum().backward()
    assert low.padding_idx == 2
    assert (low.outer.grad[2] == 0).all()


@pytest.mark.parametrize("alone", [True, False], ids=["folder alone", "skeleton"])
@pytest.mark.parametrize("rank", [6, None], ids=["low rank", "full rank"])
@forms
@pytest.mark.parametrize("family", LANGUAGE)
def test_a_loaded_language_model_answers_and_generates_as_the_saved_one(family, form, rank, alone, tmp_path):
    model = fuse(at_rank(family, rank, form=form))
    about = {"kind": "transformers", **describe(model)} if alone else {}
    save_compressed(
        tmp_path, model, base_model="tiny", licence="MIT", how={}, kept=Shares(1, 1, 1), architecture=about
    )
    loaded = load_compressed(tmp_path, None if alone else tiny(family, seed=5))
    assert type(loaded) is type(model)
    assert torch.equal(logits(loaded), logits(model))
    assert sum(p.numel() for p in loaded.parameters()) == sum(p.numel() for p in model.parameters())
    if family in CAUSAL:
        options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
        mask = torch.ones_like(tokens())
        found, expected = (m.generate(tokens(), attention_mask=mask, **options) for m in (loaded, model))
        assert found.shape == (2, 13)
        assert torch.equal(found, expected)


def test_a_table_of_another_size_does_not_load(tmp_path):
    model = fuse(at_rank("gpt2", 6))
    save_compressed(
        tmp_path, model, base_model="tiny", licence="MIT", how={}, kept=Shares(1, 1, 1), architecture={}
    )
    skeleton = tiny("gpt2")
    skeleton.resize_token_embeddings(VOCABULARY + 1)
    with pytest.raises(InputError, match=r"transformer\.wte: has another shape"):
        load_compressed(tmp_path, skeleton)


def example(rows=2, length=9):
    """Rows of tokens, each with one more place of padding than that before."""
    mask = (torch.arange(length) < length - torch.arange(rows)[:, None]).long()
    return {"input_ids": tokens(length).repeat(2, 1)[:rows], "attention_mask": mask}


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


def arrays(inputs):
    return {name: value.numpy() for name, value in inputs.items()}


@forms
@pytest.mark.parametrize("family", LANGUAGE)
def test_the_onnx_file_computes_the_same(family, form, tmp_path):
    model, one_length = fuse(at_rank(family, 5, form=form)), family == "mamba"
    export_onnx(model, example(), tmp_path / "model.onnx", FAMILIES[family])
    session = session_of(tmp_path / "model.onnx")
    assert session.get_modelmeta().custom_metadata_map["length"] == ("9" if one_length else "free")
    for rows, length in ((2, 9), (3, 9 if one_length else 12), (1, 9 if one_length else 4)):
        inputs = example(rows, length)
        with torch.no_grad():
            expected = model(**inputs).logits
        (found,) = session.run(None, arrays(inputs))
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-5)
    if one_length:
        with pytest.raises(InvalidArgument, match="Got: 5 Expected: 9"):
            session.run(None, arrays(example(length=5)))


def test_a_free_length_that_cannot_be_is_one_line(tmp_path):
    model = fuse(at_rank("mamba", 5)).train()
    with pytest.raises(InputError, match=r"MambaForCausalLM: cannot be .* pass a selection with") as caught:
        export_onnx(model, example(), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert model.training
    assert not list(tmp_path.iterdir())


def test_multiply_accumulates_of_conv1d_and_tables():
    model, rows = tiny("gpt2"), 2 * 9
    dense = linear_macs(model, lambda: logits(model))
    assert dense["transformer.h.0.attn.c_attn"] == rows * 32 * 96
    assert dense["lm_head"] == rows * 32 * VOCABULARY
    assert "transformer.wte" not in dense
    learning = at_rank("gpt2", 5)
    fused = fuse(copy.deepcopy(learning))
    for small in (learning, fused):
        macs = linear_macs(small, lambda small=small: logits(small))
        assert macs["transformer.wte"] == rows * 5 * 32
        assert macs["lm_head"] == rows * 5 * (32 + VOCABULARY)
        assert macs["transformer.h.0.attn.c_attn"] == rows * 3 * 5 * 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeddings": ("transformer.wpt",)}, "transformer.wpt: names no layer of the model"),
        (
            {"embeddings": ("transformer.ln_f",)},
            "transformer.ln_f: is a LayerNorm; name a torch.nn.Embedding",
        ),
        ({"embeddings": ("transformer.wte", "transformer.*")}, "transformer.wte: is named twice"),
    ],
)
def test_a_table_that_is_none_is_one_line(changes, message):
    with pytest.raises(InputError, match=message):
        decompose(tiny("gpt2"), FAMILIES["gpt2"].model_copy(update=changes), embeddings=True)


class Scaled(nn.Embedding):
    def forward(self, ids):
        return 4 * super().forward(ids)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Named(nn.Linear):
    """A subclass that computes what its parent does."""


def test_a_subclass_with_a_forward_of_its_own_is_not_replaced():
    model = tiny("llama")
    model.model.embed_tokens = Scaled(VOCABULARY, 32)
    with pytest.raises(InputError, match="embed_tokens: is a Scaled, whose forward is its own; leave it out"):
        decompose(model, FAMILIES["llama"], embeddings=True)
    decompose(model, FAMILIES["llama"])
    assert isinstance(model.model.embed_tokens, Scaled)


def test_a_linear_layer_with_a_forward_of_its_own_is_not_replaced():
    model = tiny("llama")
    path = "model.layers.1.mlp.up_proj"
    model.set_submodule(path, Doubled(32, 48, bias=False))
    with pytest.raises(InputError, match=f"{path}: is a Doubled, whose forward is its own; leave it out"):
        decompose(model, FAMILIES["llama"])
    assert isinstance(model.model.layers[0].mlp.up_proj, nn.Linear)
    with pytest.raises(InputError, match=r"gate_proj\+up_proj: are not linear layers of the same inputs"):
        share_inputs(model, FAMILIES["llama"])


def test_a_layer_of_another_forward_that_is_tied_to_a_table_is_not_replaced():
    model = tiny("gpt2")
    model.lm_head = Doubled(32, VOCABULARY, bias=False)
    model.lm_head.weight = model.transformer.wte.weight
    with pytest.raises(InputError, match="lm_head: is a Doubled, whose forward is its own"):
        decompose(model, FAMILIES["gpt2"], embeddings=True)


def test_a_subclass_that_computes_as_its_parent_gets_a_rank():
    model = tiny("llama")
    own = Named(32, 48, bias=False)
    model.model.layers[1].mlp.up_proj = own
    want = logits(model)
    decompose(model, FAMILIES["llama"])
    assert model.model.layers[1].mlp.up_proj is not own
    for factors in all_factors(model):
        factors.fix(min(factors.shape))
    torch.testing.assert_close(logits(model), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("left", ["transformer.wte", "lm_head"])
def test_a_table_can_be_left_dense_by_its_path_or_that_of_what_is_tied_to_it(left):
    model, chosen = tiny("gpt2"), FAMILIES["gpt2"].leaving([left])
    assert find_layers(model, chosen, embeddings=True) == find_layers(model, FAMILIES["gpt2"])
    counts = parameter_counts(model, chosen, embeddings=True)
    assert counts == parameter_counts(model, FAMILIES["gpt2"])
    decompose(model, chosen, embeddings=True)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert find_layers(model, chosen, embeddings=True) == find_layers(model, FAMILIES["gpt2"])
    with pytest.raises(InputError, match=f"{left}: names no layer that would get a rank"):
        find_layers(tiny("gpt2"), chosen)


def test_a_layer_left_dense_that_is_tied_to_a_table_keeps_the_table_dense():
    model, chosen = tiny("llama"), FAMILIES["llama"].leaving(["model.layers.1"])
    up = model.model.layers[1].mlp.up_proj
    model.model.embed_tokens = nn.Embedding(48, 32)
    model.model.embed_tokens.weight = up.weight
    assert find_layers(model, chosen, embeddings=True) == find_layers(model, chosen)
    decompose(model, chosen, embeddings=True)
    assert model.model.layers[1].mlp.up_proj is up
