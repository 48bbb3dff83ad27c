"""Llama out of a GGUF file: its weights are dequantised once, and what comes out is a plain model."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGUFReader
from transformers import (
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    modeling_gguf_pytorch_utils,
)

from softjet.errors import InputError, first_line
from softjet.language.plain import FETCH, check_layers, quiet
from softjet.provenance.files import check_is_file
from softjet.weights import check_finite

_PLAIN = "give the model's plain files (config.json with safetensors)"

_SCALING = {
    "llama.rope.scaling.type": (None, "none", "linear"),
    "llama.rope.scaling.factor": (None, 0, 1),
    "llama.rope.scale_linear": (None, 0, 1),
    "llama.rope.scaling.attn_factor": (None, 1),
}
"""Values with which llama.cpp scales no positions; 0 stands there for a factor that is not given."""

_FACTORS = "rope_freqs.weight"


def load_gguf(path: str | Path) -> LlamaForCausalLM:
    """Llama of a GGUF file, in float32 and in evaluation mode.

    Parameters
    ----------
    path : path
        A `.gguf` file of llama.cpp, with weights in float or quantised.

    Returns
    -------
    LlamaForCausalLM
        A plain model, which can be saved and trained; it equals the dequantised weights.

    Raises
    ------
    InputError
        The file is absent or damaged, holds another architecture, scales positions or has tensors that Llama
        does not take.
    """
    path = Path(path)
    reader = _check(path)
    with _reading(path):
        _check_positions(reader, path)
    try:
        with quiet(), _bar_in_a_terminal():
            found: Any = LlamaForCausalLM.from_pretrained(
                path.parent,
                gguf_file=path.name,
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # of a damaged file transformers raises anything
        raise InputError(
            path, "GGUF", f"cannot be read as Llama ({first_line(error)}); fetch it again"
        ) from error
    loaded, notes = found
    if missing := sorted(name for name in notes["missing_keys"] if not name.startswith("lm_head.")):
        raise InputError(
            path, missing[0], f"is not among the weights ({len(missing)} are missing); fetch it again"
        )
    with _reading(path):
        _check_all_taken(reader, loaded, path)
    check_finite(loaded.named_parameters(), path, FETCH)
    return _plain(loaded)


def load_gguf_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """Tokenizer that a GGUF file carries.

    Raises
    ------
    InputError
        The file is absent or damaged, or carries none.
    """
    path = Path(path)
    _check(path)
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except Exception as error:  # as above
        raise InputError(
            path, "tokenizer", f"cannot be read ({first_line(error)}); fetch it again"
        ) from error


@contextmanager
def _bar_in_a_terminal() -> Iterator[None]:
    """Keep a log free of the one bar that transformers' own switch does not know."""
    reader: Any = modeling_gguf_pytorch_utils
    bar = reader.tqdm
    reader.tqdm = partial(bar, disable=None)
    try:
        yield
    finally:
        reader.tqdm = bar


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say in one line what the reader raises: it trusts what the file says of itself."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(path, "GGUF", f"cannot be read ({first_line(error)}); fetch it again") from error


def _check(path: Path) -> GGUFReader:
    check_is_file(path, "GGUF")
    with _reading(path):
        reader = GGUFReader(path)
        found, layers = (_value(reader, key) for key in ("general.architecture", "llama.block_count"))
    if found != "llama":
        raise InputError(path, "general.architecture", f"is {found!r}; only llama is read")
    check_layers(layers, path)
    return reader


def _check_positions(reader: GGUFReader, path: Path) -> None:
    """Refuse scaled positions: transformers reads the file as if they were not."""
    for key, unscaled in _SCALING.items():
        if (value := _value(reader, key)) not in unscaled:
            raise InputError(path, key, f"is {value!r}; scaled positions are not read: {_PLAIN}")


def _check_all_taken(reader: GGUFReader, model: LlamaForCausalLM, path: Path) -> None:
    """Refuse tensors that the model has no place for: transformers leaves them out without a word."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    taken = {names.get_name(name, (".weight", ".bias")) for name in model.state_dict()}
    for tensor in reader.tensors:
        if tensor.name == _FACTORS and np.all(gguf.dequantize(tensor.data, tensor.tensor_type) == 1):
            continue
        if tensor.name not in taken:
            what = "scales positions" if tensor.name == _FACTORS else "is a tensor that Llama does not take"
            raise InputError(path, tensor.name, f"{what}; it is not read: {_PLAIN}")


def _value(reader: GGUFReader, key: str) -> object:
    field = reader.get_field(key)
    return field.contents() if field else None


def _plain(loaded: LlamaForCausalLM) -> LlamaForCausalLM:
    """The same weights in a model that is not marked as quantised, since a marked one cannot be saved."""
    values = loaded.config.to_diff_dict()
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        values.pop(name, None)
    with torch.device("meta"):
        plain = LlamaForCausalLM(type(loaded.config)(**values))
    plain.load_state_dict(loaded.state_dict(), strict=True, assign=True)
    plain.model.rotary_emb = loaded.model.rotary_emb
    plain.tie_weights()
    return plain.eval()
