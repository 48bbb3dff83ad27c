"""A trained Particle Transformer as a folder: model.safetensors with config.json beside it.

Weights kept along the training stand in checkpoints.safetensors: names are those of the model after the step
and a colon.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from softjet.config.part import N_FEATURES, ParTModel
from softjet.errors import InputError
from softjet.part.model import ParticleTransformer
from softjet.provenance.files import whole_file
from softjet.weights import check_finite

WEIGHTS, CONFIG, CHECKPOINTS = "model.safetensors", "config.json", "checkpoints.safetensors"


def save_part(folder: str | Path, model: ParticleTransformer) -> None:
    """Write the model's weights and shape into `folder`.

    Parameters
    ----------
    folder : path
        Made if it is absent.
    model : ParticleTransformer
    """
    folder = Path(folder)
    with whole_file(folder / WEIGHTS) as partial:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, partial)
    with whole_file(folder / CONFIG) as partial:
        partial.write_text(_Saved(n_features=N_FEATURES[model.config.features], **dict(model.config)).text())


def load_part(folder: str | Path) -> ParticleTransformer:
    """Particle Transformer of `folder`, in evaluation mode.

    Raises
    ------
    InputError
        A file is absent or unreadable, or the weights do not fit the shape in config.json.
    """
    folder = Path(folder)
    return _filled(load_shape(folder), _read_weights(folder / WEIGHTS), folder / WEIGHTS)


def build_part(shape: Mapping[str, Any]) -> ParticleTransformer:
    """Untrained Particle Transformer of a shape given as plain values, as `ParTModel` takes them.

    Raises
    ------
    ValueError
        A key or value that is none of a shape.
    """
    return ParticleTransformer(ParTModel.model_validate(dict(shape)))


def save_checkpoints(folder: str | Path, networks: Mapping[int, ParticleTransformer]) -> None:
    """Write the weights that a training kept on its way, by the steps they have seen, into `folder`."""
    weights = {
        f"{step}:{name}": value.contiguous()
        for step, network in networks.items()
        for name, value in network.state_dict().items()
    }
    with whole_file(Path(folder) / CHECKPOINTS) as partial:
        save_file(weights, partial)


def load_checkpoints(folder: str | Path) -> dict[int, ParticleTransformer]:
    """Networks that a training kept on its way, in evaluation mode, by the steps they have seen.

    Raises
    ------
    InputError
        As of `load_part`.
    """
    path = Path(folder) / CHECKPOINTS
    by_step: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in _read_weights(path).items():
        step, _, name = key.partition(":")
        if not re.fullmatch("[0-9]{1,18}", step):
            raise InputError(path, key, "does not begin with a step and a colon; train the model again")
        by_step.setdefault(int(step), {})[name] = value
    shape = load_shape(folder)
    return {step: _filled(shape, by_step[step], path) for step in sorted(by_step)}


def _filled(shape: ParTModel, weights: dict[str, torch.Tensor], path: Path) -> ParticleTransformer:
    # A shape may ask for any memory: the weights say first whether it is theirs.
    with torch.device("meta"):
        expected = ParticleTransformer(shape).state_dict()
    _check(path, weights, expected)
    model = ParticleTransformer(shape)
    model.load_state_dict(weights)
    return model.eval()


def load_shape(folder: str | Path) -> ParTModel:
    """Shape of the Particle Transformer of `folder`.

    Raises
    ------
    InputError
        config.json is absent, unreadable or holds something else.
    """
    path = Path(folder) / CONFIG
    try:
        saved = _Saved.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(path, "file", f"cannot be read ({error.strerror}); train the model again") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "JSON"
        raise InputError(path, field, f"{first['msg']}; train the model again") from error
    return ParTModel(**saved.model_dump(exclude={"n_features"}))


class _Saved(ParTModel):
    """The shape as it is written: with the number of features spelled out."""

    n_features: int

    def text(self) -> str:
        return self.model_dump_json(indent=2) + "\n"


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(path, "file", f"is no safetensors file ({error}); train the model again") from error


def _check(path: Path, weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for name in sorted(weights.keys() ^ expected.keys()):
        problem = "is missing" if name in expected else "is not a weight of this model"
        raise InputError(path, name, f"{problem}; does config.json beside it belong to it?")
    for name, value in expected.items():
        if weights[name].shape != value.shape:
            raise InputError(path, name, f"has shape {tuple(weights[name].shape)}, not {tuple(value.shape)}")
        if weights[name].is_floating_point() != value.is_floating_point():
            raise InputError(
                path, name, f"is {weights[name].dtype}, not {value.dtype}; train the model again"
            )
    check_finite(weights.items(), path, "train the model again")
