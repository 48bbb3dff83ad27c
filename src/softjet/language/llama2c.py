"""Llama out of the two files of llama2.c: weights as bare float32, and a vocabulary with scores."""

import struct
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer, PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import generate_merges

from softjet.errors import InputError
from softjet.language.plain import FETCH, check_layers
from softjet.provenance.files import check_is_file
from softjet.weights import check_finite

_HEADER = struct.Struct("<7i")
_NAMED = {0: "<unk>", 1: "<s>", 2: "</s>"} | {3 + byte: f"<0x{byte:02X}>" for byte in range(256)}
"""Tokens that the file writes in another way than Llama's tokenizer: specials, and the 256 bytes."""


def load_llama2c(path: str | Path) -> LlamaForCausalLM:
    """Llama of a model.bin, in float32 and in evaluation mode.

    Parameters
    ----------
    path : path
        File of llama2.c in its first format: seven integers, then float32 weights, little-endian.

    Raises
    ------
    InputError
        The file is absent, or its length is not the one that its header asks for.
    """
    path = Path(path)
    content = _content(path)
    config = _config(path, content)
    weights = _weights(path, content, config)
    model = LlamaForCausalLM(config)
    model.load_state_dict(weights)
    model.tie_weights()
    check_finite(model.named_parameters(), path, FETCH)
    return model.eval()


def load_llama2c_tokenizer(path: str | Path, size: int | None = None) -> PreTrainedTokenizerBase:
    """Tokenizer of a tokenizer.bin.

    Parameters
    ----------
    path : path
        File of llama2.c: the longest token's length, then score, length and bytes of each token.
    size : int, optional
        Number of tokens, which the file must have; by default as many as it has.

    Raises
    ------
    InputError
        The file is absent or ends before its last token.
    """
    path = Path(path)
    content = _content(path)
    scores: dict[str, float] = {}
    place = 4
    while place < len(content):
        try:
            score, length = struct.unpack_from("<fi", content, place)
            if length < 0:
                raise ValueError(f"{length} bytes")
            text = content[place + 8 : place + 8 + length].decode()
        except (struct.error, ValueError) as error:
            raise InputError(path, f"token {len(scores)}", f"is damaged ({error}); fetch it again") from error
        scores[_NAMED.get(len(scores)) or text.replace(" ", "\u2581")] = score
        place += 8 + length
    if place != len(content) or (size is not None and len(scores) != size):
        problem = f"{len(scores)} in {place} of {len(content)} bytes, where {size} were expected"
        raise InputError(path, "tokens", problem)
    vocabulary = {token: number for number, token in enumerate(scores)}
    merges = generate_merges(vocabulary, scores, skip_tokens=_NAMED.values())
    return LlamaTokenizer(vocab=vocabulary, merges=merges)


def _content(path: Path) -> bytes:
    check_is_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(path, "file", f"cannot be read ({error.strerror})") from error


def _config(path: Path, content: bytes) -> LlamaConfig:
    if len(content) < _HEADER.size:
        raise InputError(path, "header", "is cut off; fetch the file again")
    width, inner, layers, heads, groups, vocabulary, length = _HEADER.unpack_from(content)
    least = min(width, inner, layers, heads, groups, vocabulary, length)
    if least < 1 or width % (2 * heads) or heads % groups:
        problem = "is no header of llama2.c with a shared classifier; is this another format?"
        raise InputError(path, "header", problem)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        vocab_size=vocabulary,
        max_position_embeddings=length,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
    )
    check_layers(config.num_hidden_layers, path)
    return config


def _shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of a layer's tensors, in the order of the file: all layers of one, then of the next."""
    width, inner = config.hidden_size, config.intermediate_size
    groups = width // config.num_attention_heads * int(config.num_key_value_heads or 0)
    return {
        "input_layernorm": (width,),
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (groups, width),
        "self_attn.v_proj": (groups, width),
        "self_attn.o_proj": (width, width),
        "post_attention_layernorm": (width,),
        "mlp.gate_proj": (inner, width),
        "mlp.down_proj": (width, inner),
        "mlp.up_proj": (inner, width),
    }


def _weights(path: Path, content: bytes, config: LlamaConfig) -> dict[str, Tensor]:
    size = config.hidden_size // config.num_attention_heads
    order: list[tuple[str, tuple[int, ...]]] = [
        ("model.embed_tokens.weight", (config.vocab_size, config.hidden_size))
    ]
    order += [
        (f"model.layers.{layer}.{name}.weight", shape)
        for name, shape in _shapes(config).items()
        for layer in range(config.num_hidden_layers)
    ]
    order.append(("model.norm.weight", (config.hidden_size,)))
    tables = config.max_position_embeddings * size  # cosines and sines, which Llama computes itself
    expected = _HEADER.size + 4 * (sum(prod(shape) for _, shape in order) + tables)
    if len(content) != expected:
        problem = f"has {len(content)} bytes, where its header asks for {expected}; fetch it again"
        raise InputError(path, "length", problem)
    weights, place = {}, _HEADER.size
    for name, shape in order:
        values = np.frombuffer(content, "<f4", prod(shape), place).reshape(shape)
        turned = name.endswith(("q_proj.weight", "k_proj.weight"))
        weights[name] = torch.from_numpy((_halves(values, size) if turned else values).copy())
        place += 4 * prod(shape)
    return weights | {"lm_head.weight": weights["model.embed_tokens.weight"]}


def _halves(rows: np.ndarray, size: int) -> np.ndarray:
    """Rows of each head as transformers rotates them: i with i + size / 2, not 2 i with 2 i + 1."""
    heads = len(rows) // size
    return rows.reshape(heads, size // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)
