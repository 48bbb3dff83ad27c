"""Llama out of a GGUF file: its weights are dequantised once, and what comes out is a plain model."""

from pathlib import Path

import torch
from gguf import GGUFReader
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from softjet.errors import InputError
from softjet.language.plain import quiet


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
        with quiet():
            loaded = LlamaForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, dtype=torch.float32, local_files_only=True
            )
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        said = str(error).strip().splitlines()[0]
        raise InputError(path, "GGUF", f"cannot be read as Llama ({said})") from error
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
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        said = str(error).strip().splitlines()[0]
        raise InputError(path, "tokenizer", f"cannot be read ({said})") from error


def _check(path: Path) -> None:
    try:
        field = GGUFReader(path).get_field("general.architecture")
        found = field.contents() if field else None
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(path, "GGUF", f"cannot be read ({error}); fetch it again") from error
    if found != "llama":
        raise InputError(path, "general.architecture", f"is {found!r}; only llama is read")


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
