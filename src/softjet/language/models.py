"""Models of transformers: loaded from plain files, made new, saved, and described to be built again.

Weights are read from safetensors, or from a GGUF or llama2.c file; no code of a model's author runs.
"""

import difflib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.initialization import no_init_weights

from softjet.config.language import Family
from softjet.errors import InputError, first_line
from softjet.language.plain import FETCH, check_config, check_layers, check_plain, quiet, save_whole
from softjet.weights import check_finite

log = logging.getLogger(__name__)

CLASSES = {
    "bert": "BertForSequenceClassification",
    "mpnet": "MPNetForSequenceClassification",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mamba": "MambaForCausalLM",
}
"""Class of each family in transformers: sentences are classified, or the next token is told."""

Shape = Sequence[int]

_NEW = ("bert.pooler", "classifier")
"""What is made new for a model that had no classifier."""


def load_model(
    folder: str | Path, family: Family, labels: int | None = None, seed: int = 0
) -> PreTrainedModel:
    """Model of a folder, in float32 and in evaluation mode.

    Parameters
    ----------
    folder : path
        config.json with model.safetensors (in the hub's layout, one file or several), one GGUF file, or
        model.bin of llama2.c.
    family : str
        What it has to be.
    labels : int, optional
        Classes, for families that classify; by default as many as the configuration of the model says.
    seed : int
        Seed of what the files do not hold: the classifying head of a model that had another task, or another
        number of classes.

    Raises
    ------
    InputError
        Files are absent, damaged, of another family or need code or a pickle to be read.
    """
    folder = Path(folder)
    other = [*folder.glob("*.gguf"), *folder.glob("model.bin")]
    if other and not (folder / "config.json").exists():
        if family != "llama" or len(other) > 1:
            raise InputError(other[0], "family", f"one file of Llama's weights was looked for, for {family}")
        return _load_one_file(other[0])
    kind = _class_of(CLASSES[family])
    check_plain(folder, _config(kind).model_type)
    return _load(folder, kind, labels, seed)


def _load_one_file(path: Path) -> PreTrainedModel:
    # Imported where they are needed: they bring Llama's classes, for which other jobs would wait.
    if path.suffix == ".gguf":
        from softjet.language.gguf import load_gguf

        return load_gguf(path)
    from softjet.language.llama2c import load_llama2c

    return load_llama2c(path)


def _load(folder: Path, kind: type[PreTrainedModel], labels: int | None, seed: int) -> PreTrainedModel:
    settings: dict[str, Any] = {} if labels is None else {"num_labels": labels}
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # Not as they stand in config.json, which may point to another file.
            values, _ = _config(kind).get_config_dict(folder, local_files_only=True)
            check_config(values, folder / "config.json")
            _check_unpacked(values, folder / "config.json")
            config = _config(kind).from_pretrained(folder, local_files_only=True, **settings)
            _check_shape(config, folder / "config.json")
            loaded: Any = kind.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except InputError:
        raise
    except Exception as error:  # of a damaged configuration transformers raises anything
        problem = f"cannot be loaded ({first_line(error)}); fetch its files again"
        raise InputError(folder, kind.__name__, problem) from error
    model, notes = loaded
    _check_names(folder, notes["missing_keys"], model.config.tie_word_embeddings)
    _check_shapes(folder, notes["mismatched_keys"], labels)
    check_finite(model.named_parameters(), folder, FETCH)
    _state_ties(model)
    return cast(PreTrainedModel, model.eval())


def _check_unpacked(values: Mapping[str, Any], where: Path) -> None:
    """Refuse weights that are packed: a package, or code of the hub, would be run to read them."""
    if values.get("quantization_config") is not None:
        problem = "says that the weights are packed, which takes other code to read; give plain weights"
        raise InputError(where, "quantization_config", problem)


def _state_ties(model: PreTrainedModel) -> None:
    """Let the configuration say whether output and table are one: files may hold two that differ."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and head.weight is not table.weight:
        model.config.tie_word_embeddings = False


def _check_names(folder: Path, missing: Collection[str], tied: bool) -> None:
    """Refuse weights that lack a tensor, other than of a classifier, or of an output tied to inputs."""
    new = [part for part in _NEW if any(name.startswith(f"{part}.") for name in missing)]
    known = (*(f"{part}." for part in _NEW), *(("lm_head.",) if tied else ()))
    lacking = sorted(name for name in missing if not name.startswith(known))
    if lacking:
        problem = f"is not among the weights ({len(lacking)} are missing); give those of the whole model"
        raise InputError(folder, lacking[0], problem)
    if new:
        log.info("%s: %s: not among the weights; made new", folder, " and ".join(new))


def _check_shapes(folder: Path, mismatched: Iterable[tuple[str, Shape, Shape]], labels: int | None) -> None:
    """Refuse weights of another shape, unless it is that of a classifier of another number of classes."""
    found = sorted(mismatched)
    for name, own, asked in found:
        if not name.startswith("classifier.") or asked != (labels, *own[1:]):
            problem = f"has the shape {tuple(own)}, and config.json asks for {tuple(asked)}; {FETCH}"
            raise InputError(folder, name, problem)
    if found:
        classes = found[0][1][0]
        log.warning(
            "%s: classifier: is of %d classes, the task has %d; a new one is made", folder, classes, labels
        )


def new_model(
    family: Family, architecture: Mapping[str, Any], seed: int, labels: int | None = None
) -> PreTrainedModel:
    """Model with random weights, in float32 and in evaluation mode.

    Parameters
    ----------
    family : str
        One of `CLASSES`.
    architecture : mapping
        Keys of transformers' configuration class of the family.
    seed : int
        Seed of the weights.
    labels : int, optional
        Classes, for families that classify.

    Raises
    ------
    InputError
        A key is unknown or its value impossible.
    """
    kind = _class_of(CLASSES[family])
    known = _keys(_config(kind))
    for key in architecture:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise InputError(f"architecture of {family}", key, f"unknown key; {hint}")
    heads = {} if labels is None else {"num_labels": labels}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build(kind, {**architecture, **heads}, f"architecture of {family}")


def _config(kind: type[PreTrainedModel]) -> type[PreTrainedConfig]:
    return cast(type[PreTrainedConfig], kind.config_class)


def _keys(config: type[PreTrainedConfig]) -> list[str]:
    own = [entry.name for entry in fields(config)]
    shared = [entry.name for entry in fields(PreTrainedConfig)]
    return sorted((set(own) - set(shared)) | set(config.attribute_map))


def _build(kind: type[PreTrainedModel], values: Mapping[str, Any], where: str) -> PreTrainedModel:
    try:
        check_config(values, where)
        with quiet():
            config = _config(kind)(**values)
            _check_shape(config, where)
            return kind(config).float().eval()
    except InputError:
        raise
    except Exception as error:  # of an impossible architecture transformers raises anything
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(where, kind.__name__, f"cannot be built ({said})") from error


def _check_shape(config: PreTrainedConfig, where: object) -> None:
    check_layers(config.num_hidden_layers, where)
    if config.vocab_size < 1:
        raise InputError(where, "vocab_size", f"is {config.vocab_size}; a model knows at least one token")
    for key in {"hidden_act", "activation_function"} & {entry.name for entry in fields(config)}:
        name = getattr(config, key)
        if name not in ACT2FN:
            problem = f"is {name!r}; known to transformers are {', '.join(sorted(ACT2FN))}"
            raise InputError(where, key, problem)


def save_model(folder: str | Path, model: PreTrainedModel) -> None:
    """Write model.safetensors and config.json, in the hub's layout, each whole or not at all.

    Parameters
    ----------
    folder : path
        Made if it is absent.
    model : PreTrainedModel
    """
    names = ("model.safetensors", "config.json")
    save_whole(folder, names, lambda scratch: model.save_pretrained(scratch, max_shard_size="1TB"))


def describe(model: PreTrainedModel) -> dict[str, Any]:
    """Class and configuration of a model, in plain values; `build_model` is its inverse.

    Raises
    ------
    InputError
        The model is of none of the five classes.
    """
    name = type(model).__name__
    return {"class": _class_of(name).__name__, "config": model.config.to_diff_dict()}


def build_model(about: Mapping[str, Any]) -> PreTrainedModel:
    """Model of a description, its weights not set: they are expected to be loaded next.

    Parameters
    ----------
    about : mapping
        `class`, one of five, and `config`, the keys of its configuration.

    Raises
    ------
    InputError
        The class is not one of five, or the configuration is impossible.
    """
    kind = _class_of(str(about.get("class")))
    values = {key: value for key, value in dict(about.get("config") or {}).items() if key != "model_type"}
    with no_init_weights():
        model = _build(kind, values, "description")
    model.tie_weights()
    return model


def _class_of(name: str) -> type[PreTrainedModel]:
    """One of the five classes; the others are not imported, which would take its time."""
    if name not in CLASSES.values():
        raise InputError("description", "class", f"is {name!r}; known are {', '.join(CLASSES.values())}")
    return cast(type[PreTrainedModel], getattr(transformers, name))
