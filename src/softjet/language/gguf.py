"""Llama out of a GGUF file: its weights are dequantised once, and what comes out is a plain model."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

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
        The file is absent or damaged, or holds another architecture.
    """
    path = Path(path)
    _check(path)
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


def _check(path: Path) -> None:
    check_is_file(path, "GGUF")
    try:
        reader = GGUFReader(path)
        found, layers = (_value(reader, key) for key in ("general.architecture", "llama.block_count"))
    except Exception as error:  # the reader trusts what the file says of itself
        raise InputError(path, "GGUF", f"cannot be read ({first_line(error)}); fetch it again") from error
    if found != "llama":
        raise InputError(path, "general.architecture", f"is {found!r}; only llama is read")
    check_layers(layers, path)


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
