import struct

import numpy as np
import pytest
import torch
from torch.nn.functional import silu

from softjet.errors import InputError
from softjet.language.models import load_model
from softjet.language.tokenizers import load_tokenizer

WIDTH, INNER, LAYERS, HEADS, GROUPS, WORDS, LENGTH = 16, 24, 2, 4, 2, 40, 12
SIZE = WIDTH // HEADS


def weights():
    """Weights of the file, in its order."""
    draws = np.random.default_rng(1)
    shapes = {
        "embedding": (WORDS, WIDTH),
        "attention_norm": (LAYERS, WIDTH),
        "q": (LAYERS, WIDTH, WIDTH),
        "k": (LAYERS, GROUPS * SIZE, WIDTH),
        "v": (LAYERS, GROUPS * SIZE, WIDTH),
        "o": (LAYERS, WIDTH, WIDTH),
        "ffn_norm": (LAYERS, WIDTH),
        "w1": (LAYERS, INNER, WIDTH),
        "w2": (LAYERS, WIDTH, INNER),
        "w3": (LAYERS, INNER, WIDTH),
        "norm": (WIDTH,),
    }
    return {name: draws.normal(0, 0.5, shape).astype("<f4") for name, shape in shapes.items()}


def write(path, values):
    header = struct.pack("<7i", WIDTH, INNER, LAYERS, HEADS, GROUPS, WORDS, LENGTH)
    tables = np.full(LENGTH * SIZE, 9, "<f4")
    path.write_bytes(header + b"".join(value.tobytes() for value in values.values()) + tables.tobytes())


def rotated(x):
    """Rotary embedding as llama2.c has it: neighbours 2 i and 2 i + 1 are one complex number."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], SIZE // 2, 2))
    angle = torch.arange(x.shape[0])[:, None] * 10000.0 ** (-torch.arange(0, SIZE, 2) / SIZE)
    return torch.view_as_real(pairs * torch.exp(1j * angle)[:, None, :]).flatten(-2)


def norm(x, weight):
    return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weight


def logits(values, tokens):
    """Forward pass of llama2.c, written from its definition, in float64."""
    w = {name: torch.from_numpy(value.astype(float)) for name, value in values.items()}
    n = len(tokens)
    x = w["embedding"][tokens]
    for layer in range(LAYERS):
        y = norm(x, w["attention_norm"][layer])
        q = rotated((y @ w["q"][layer].T).reshape(n, HEADS, SIZE))
        k = rotated((y @ w["k"][layer].T).reshape(n, GROUPS, SIZE)).repeat_interleave(HEADS // GROUPS, 1)
        v = (y @ w["v"][layer].T).reshape(n, GROUPS, SIZE).repeat_interleave(HEADS // GROUPS, 1)
        scores = torch.einsum("qhd,khd->hqk", q, k) / SIZE**0.5
        scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -torch.inf)
        x = x + torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(n, WIDTH) @ w["o"][layer].T
        y = norm(x, w["ffn_norm"][layer])
        x = x + (silu(y @ w["w1"][layer].T) * (y @ w["w3"][layer].T)) @ w["w2"][layer].T
    return norm(x, w["norm"]) @ w["embedding"].T


def test_logits_are_those_of_the_definition(tmp_path):
    values = weights()
    write(tmp_path / "model.bin", values)
    tokens = torch.tensor([3, 39, 0, 7, 7, 21, 14, 5, 30])
    with torch.no_grad():
        found = load_model(tmp_path, "llama")(tokens[None]).logits[0]
    torch.testing.assert_close(found.double(), logits(values, tokens), rtol=1e-4, atol=1e-4)


def test_file_that_is_cut_off_is_one_line(tmp_path):
    path = tmp_path / "model.bin"
    write(path, weights())
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(InputError, match=f"length: has {len(whole) - 4} bytes, .* asks for {len(whole)}"):
        load_model(tmp_path, "llama")
    path.write_bytes(whole[:20])
    with pytest.raises(InputError, match="header: is cut off"):
        load_model(tmp_path, "llama")


def test_a_pickle_named_like_the_file_is_one_line(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"PK\x03\x04" + bytes(60))
    with pytest.raises(InputError, match=r"model\.bin: header: is no header"):
        load_model(tmp_path, "llama")


def write_tokens(path, tokens):
    entries = [struct.pack("<fi", score, len(text)) + text for text, score in tokens]
    path.write_bytes(struct.pack("<i", 9) + b"".join(entries))


TOKENS = [
    (b"<unk>", 0.0),
    (b"\n<s>\n", 0.0),
    (b"\n</s>\n", 0.0),
    *((chr(byte).encode(), 0.0) for byte in range(256)),
    (b" ab", -1.0),
    (b"ab", -0.0),
    (b" a", -2.0),
    *((text.encode(), -9.0) for text in (" ", "a", "b", "é")),
]


def test_tokens_are_joined_by_score_and_the_rest_is_bytes(tmp_path):
    write_tokens(tmp_path / "tokenizer.bin", TOKENS)
    tokenizer = load_tokenizer(tmp_path, len(TOKENS))
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("ab aé€", add_special_tokens=False).input_ids)
    assert tokens == ["▁ab", "▁a", "é", "<0xE2>", "<0x82>", "<0xAC>"]
    assert tokenizer.decode(tokenizer("ab aé€", add_special_tokens=False).input_ids) == "ab aé€"


def test_vocabulary_that_is_cut_off_is_one_line(tmp_path):
    path = tmp_path / "tokenizer.bin"
    write_tokens(path, TOKENS)
    with pytest.raises(InputError, match=f"tokens: {len(TOKENS)} in .* where 300 were expected"):
        load_tokenizer(tmp_path, 300)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="token"):
        load_tokenizer(tmp_path, len(TOKENS))
