"""What a folder of a model's files must be before a library reads it, and that library kept quiet."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.utils import logging as their_logging

from softjet.errors import InputError
from softjet.provenance.files import check_is_file

FETCH = "fetch the weights again"
"""Advice on weights that cannot be used."""

MOST_LAYERS = 1000
"""A configuration of more is damaged: each layer takes time and memory before the weights are looked at."""

MOST_CLASSES = 100_000
"""A configuration of more is damaged or a trap, as above."""

CODE = {
    "attn_implementation": ("eager", "sdpa", "flex_attention"),
    "experts_implementation": ("eager", "grouped_mm", "batched_mm"),
}
"""Keys by which a configuration chooses code, and what torch itself has. For other values transformers would
import a package or, where the package kernels is installed, fetch code from the hub and run it."""

INDEX = "model.safetensors.index.json"


def check_plain(folder: Path, model_type: str) -> None:
    """See that a folder holds weights of this type as safetensors, and asks for no code.

    Raises
    ------
    InputError
        config.json is absent, unreadable, of another type, or names code; or there are no safetensors.
    """
    path = folder / "config.json"
    config = read_object(path)
    if config.get("model_type") != model_type:
        found = config.get("model_type")
        raise InputError(path, "model_type", f"is {found!r}, not {model_type!r}; is the family right?")
    if "auto_map" in config:
        raise InputError(path, "auto_map", "asks to run its author's code; refused: give plain weights")
    if (folder / INDEX).exists():
        _check_index(folder / INDEX)
    if any((folder / name).exists() for name in ("model.safetensors", INDEX)):
        return
    pickled = sorted(entry.name for pattern in ("*.bin", "*.pt", "*.pth") for entry in folder.glob(pattern))
    problem = "is a pickle and is not loaded; convert it to model.safetensors"
    if pickled:
        raise InputError(folder, pickled[0], problem)
    raise InputError(folder, "model.safetensors", "is absent; give the folder that holds the weights")


def _check_index(path: Path) -> None:
    """See that all files of an index lie beside it."""
    files = read_object(path).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise InputError(path, "weight_map", "names no files of weights; fetch it again")
    for name, file in files.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise InputError(
                path, f"weight_map.{name}", f"is {file!r}, no safetensors file beside it; refused"
            )


def check_config(values: Mapping[str, Any], where: object) -> None:
    """Refuse a configuration that would fetch or import code, or has more classes than any model.

    To be called before transformers makes anything of it.

    Raises
    ------
    InputError
        A key of `CODE` has another value; `num_labels` or `id2label` is beyond `MOST_CLASSES`.
    """
    for key, known in CODE.items():
        for name in (key, f"_{key}"):
            if values.get(name) not in (None, *known):
                problem = f"is {values[name]!r}, for which code would be fetched or imported"
                raise InputError(where, name, f"{problem}; leave it out, or give {' or '.join(known)}")
    classes, names = values.get("num_labels"), values.get("id2label")
    for key, count in (("num_labels", classes), ("id2label", len(names) if isinstance(names, dict) else 0)):
        if isinstance(count, int) and count > MOST_CLASSES:
            problem = f"has {count} classes; a model of at most {MOST_CLASSES} is built"
            raise InputError(where, key, problem)


def check_layers(layers: object, where: object) -> None:
    """Refuse a number of layers that no model has."""
    if not isinstance(layers, int) or layers > MOST_LAYERS:
        raise InputError(
            where, "num_hidden_layers", f"is {layers!r}; a model of at most {MOST_LAYERS} layers is built"
        )


def save_whole(folder: str | Path, names: Sequence[str], save: Callable[[Path], object]) -> None:
    """Let a library write aside, and move these of its files to `folder`, each whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".partial-", suffix=f"-{names[0]}", dir=folder) as scratch,
        quiet(),
    ):
        save(Path(scratch))
        for name in names:
            (Path(scratch) / name).replace(folder / name)


def read_object(path: Path) -> dict[str, object]:
    """JSON object of a file; `InputError` if it is absent or something else."""
    check_is_file(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, "file", f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(path, "JSON", f"is damaged ({error}); fetch it again") from error
    if not isinstance(found, dict):
        raise InputError(path, "JSON", "holds no object of keys and values")
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' advice and bars out of the log, which has its own."""
    level, bar = their_logging.get_verbosity(), their_logging.is_progress_bar_enabled()
    their_logging.set_verbosity_error()
    their_logging.disable_progress_bar()
    try:
        yield
    finally:
        their_logging.set_verbosity(level)
        if bar:
            their_logging.enable_progress_bar()
