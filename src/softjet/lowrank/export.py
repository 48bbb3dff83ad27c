"""A compressed model as a folder: model.safetensors, and config.json that says what it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from softjet.errors import InputError
from softjet.lowrank.budget import Shares
from softjet.lowrank.layer import LowRankLinear, Piece
from softjet.lowrank.selection import replace
from softjet.provenance.files import whole_file

Model = TypeVar("Model", bound=nn.Module)


def save_compressed(
    folder: str | Path,
    model: nn.Module,
    *,
    base_model: str,
    licence: str,
    how: Mapping[str, Any],
    kept: Shares,
) -> None:
    """Write a fused model.

    Parameters
    ----------
    folder : str or path
    model : nn.Module
        Fused by :func:`softjet.lowrank.fuse`.
    base_model : str
        The dense model it was made from.
    licence : str
        Licence of the weights.
    how : mapping
        How it was made: method and settings, as plain values.
    kept : Shares
        Ratios achieved, of linears, blocks and total.
    """
    ranks = {
        path: {"in": layer.in_features, "pieces": [piece._asdict() for piece in layer.layout]}
        for path, layer in model.named_modules()
        if isinstance(layer, LowRankLinear)
    }
    about = {
        "base_model": base_model,
        "licence": licence,
        "how": dict(how),
        "kept": kept._asdict(),
        "ranks": ranks,
    }
    with whole_file(Path(folder) / "model.safetensors") as partial:
        save_model(model, str(partial))
    with whole_file(Path(folder) / "config.json") as partial:
        partial.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def load_compressed(folder: str | Path, skeleton: Model) -> Model:
    """Read a fused model into the module tree of its dense model.

    Parameters
    ----------
    folder : str or path
        As written by :func:`save_compressed`.
    skeleton : nn.Module
        A dense model of the base model's shape; its weights do not matter. Changed in place.

    Returns
    -------
    nn.Module
        The same model, in evaluation mode.

    Raises
    ------
    InputError
        A file that is absent, is not of its format, or does not fit the skeleton.
    """
    config, weights = Path(folder) / "config.json", Path(folder) / "model.safetensors"
    for path, ranks in _read_ranks(config).items():
        _make_low_rank(skeleton, path, ranks, config)
    try:
        load_model(skeleton, str(weights))
    except FileNotFoundError:
        raise InputError(weights, "file", "does not exist; compress the model first") from None
    except (SafetensorError, RuntimeError) as error:
        raise InputError(weights, "weights", f"do not fit the model: {error}") from None
    return skeleton.eval()


def _read_ranks(config: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(config.read_text(encoding="utf-8"))["ranks"])
    except FileNotFoundError:
        raise InputError(config, "file", "does not exist; compress the model first") from None
    except (ValueError, TypeError, KeyError):
        raise InputError(config, "ranks", "cannot be read; compress the model again") from None


def _make_low_rank(skeleton: nn.Module, path: str, ranks: Mapping[str, Any], config: Path) -> None:
    try:
        dense = skeleton.get_submodule(path)
        layer = LowRankLinear(
            ranks["in"], [Piece(**p) for p in ranks["pieces"]], bias=getattr(dense, "bias", None) is not None
        )
    except (AttributeError, TypeError, KeyError):
        raise InputError(
            config, path, "names no layer of the base model; give the model it was made from"
        ) from None
    if not isinstance(dense, nn.Linear) or (dense.in_features, dense.out_features) != (
        layer.in_features,
        layer.out_features,
    ):
        raise InputError(config, path, "has another shape in the base model; give the model it was made from")
    replace(skeleton, path, layer.to(dense.weight))
