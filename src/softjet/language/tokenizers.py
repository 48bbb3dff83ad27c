"""Tokenizers: loaded from plain files, or trained on the text."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from softjet.errors import InputError
from softjet.language.plain import read_object, save_whole

_END, _PAD = "<|endoftext|>", "<pad>"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


MOST_TOKENS = 10_000_000
"""The library takes memory for every number up to a vocabulary's largest."""


def load_tokenizer(folder: str | Path, rows: int | None = None) -> PreTrainedTokenizerBase:
    """Fast tokenizer of a folder.

    A tokenizer without a token for padding pads with its end of text; the attention mask tells the two apart.

    Parameters
    ----------
    folder : path
        Holds tokenizer.json, or vocab.json and merges.txt of a byte-level BPE, or a GGUF file, or
        tokenizer.bin of llama2.c.
    rows : int, optional
        Rows of the model's embedding, which every token must have one of.

    Raises
    ------
    InputError
        No such file is there, it is damaged, or it has more tokens than the embedding has rows.
    """
    folder = Path(folder)
    tokenizer = _read(folder, rows)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.truncation_side = "right"  # of a long text only the beginning is given to it
    if rows is not None and (last := max(tokenizer.get_vocab().values(), default=0)) >= max(
        rows, len(tokenizer)
    ):
        problem = f"numbers a token {last}, the model's embedding has {rows} rows; give the model's own"
        raise InputError(folder, "tokenizer", problem)
    if rows is not None and len(tokenizer) > rows:
        problem = f"has {len(tokenizer)} tokens, the model's embedding {rows} rows; give the model's own"
        raise InputError(folder, "tokenizer", problem)
    return tokenizer


def _read(folder: Path, rows: int | None) -> PreTrainedTokenizerBase:
    if (path := folder / "tokenizer.json").exists():
        return _fast(path)
    if (path := folder / "vocab.json").exists():
        return _byte_level(folder)
    # Imported where they are needed: they bring Llama's classes, for which other jobs would wait.
    if found := sorted(folder.glob("*.gguf")):
        from softjet.language.gguf import load_gguf_tokenizer

        return load_gguf_tokenizer(found[0])
    if (path := folder / "tokenizer.bin").exists():
        from softjet.language.llama2c import load_llama2c_tokenizer

        return load_llama2c_tokenizer(path, rows)
    raise InputError(folder, "tokenizer.json", "is absent; give the folder that holds the tokenizer")


def _fast(path: Path) -> PreTrainedTokenizerBase:
    model = read_object(path).get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        _check_numbers(vocabulary, path)
    settings = path.with_name("tokenizer_config.json")
    said = read_object(settings) if settings.exists() else {}
    special: dict[str, Any] = {name: _text(said[name], name, settings) for name in _SPECIAL if said.get(name)}
    if str(said.get("tokenizer_class")).startswith("Bert"):  # which of two sentences a token is of
        special["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    try:
        return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(str(path)), **special)
    except Exception as error:  # tokenizers raises nothing more special
        raise InputError(path, "tokenizer", f"cannot be read ({error})") from error


def _text(token: object, name: str, path: Path) -> str:
    """A special token is written as a string, or as an object with its content."""
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str):
        raise InputError(path, name, f"is {token!r}, not the text of a token; fetch the file again")
    return text


def _check_numbers(vocabulary: Mapping[str, Any], path: Path) -> None:
    for token, number in vocabulary.items():
        if not isinstance(number, int) or not 0 <= number < MOST_TOKENS:
            raise InputError(path, f"token {token}", f"has the number {number!r}; fetch the file again")


def _byte_level(folder: Path) -> PreTrainedTokenizerBase:
    _check_numbers(read_object(folder / "vocab.json"), folder / "vocab.json")
    try:
        model = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as error:  # tokenizers raises nothing more special
        raise InputError(folder, "vocab.json and merges.txt", f"cannot be read ({error})") from error
    return _wrapped(_around(model))


def _around(model: models.BPE) -> Tokenizer:
    """Byte-level BPE as GPT-2 has it."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _wrapped(tokenizer: Tokenizer, padding: str = _END) -> PreTrainedTokenizerBase:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=_END, eos_token=_END, pad_token=padding
    )


def train_bpe(texts: Iterable[str], size: int, padding: Literal[0, 1] = 0) -> PreTrainedTokenizerBase:
    """Byte-level BPE trained on texts, as GPT-2 has it.

    Parameters
    ----------
    texts : iterable of str
    size : int
        Tokens, at least 257: those of 256 bytes and the end of text. Short texts give fewer.
    padding : int
        Number of the token to pad with: 0, the end of text, or 1, a token for nothing else.

    Returns
    -------
    PreTrainedTokenizerBase
        The same for the same texts.

    Raises
    ------
    InputError
        The size is too small.
    """
    special = [_END, _PAD][: padding + 1]
    if size < (least := 256 + len(special)):
        raise InputError("tokenizer", "vocab_size", f"is {size}; byte-level BPE needs at least {least}")
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer = _around(models.BPE())
    tokenizer.train_from_iterator(texts, trainer)
    return _wrapped(tokenizer, special[padding])


def save_tokenizer(folder: str | Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write tokenizer.json and tokenizer_config.json, each whole or not at all.

    Parameters
    ----------
    folder : path
        Made if it is absent.
    tokenizer : PreTrainedTokenizerBase
    """
    save_whole(folder, ("tokenizer.json", "tokenizer_config.json"), tokenizer.save_pretrained)
