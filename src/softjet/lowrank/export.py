"""A compressed model as a folder: model.safetensors, and config.json that says what it is."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from softjet.errors import InputError
from softjet.lowrank.budget import Shares
from softjet.lowrank.dense import dense_bias, dense_weight, is_linear, sharers
from softjet.lowrank.embedding import LowRankEmbedding
from softjet.lowrank.layer import LOW_RANK
from softjet.lowrank.low_rank import LowRankLinear, Piece
from softjet.lowrank.pivot import PivotLinear
from softjet.lowrank.selection import replace
from softjet.lowrank.shared import join, joint_layers
from softjet.provenance.files import whole_file
from softjet.weights import check_finite

BUILDERS = {
    "part": "softjet.part.checkpoint:build_part",
    "transformers": "softjet.language.models:build_model",
}
"""Function that builds an untrained dense model from its description, by kind; imported when it is needed."""


def save_compressed(
    folder: str | Path,
    model: nn.Module,
    *,
    base_model: str,
    licence: str,
    how: Mapping[str, Any],
    kept: Shares,
    architecture: Mapping[str, Any],
    origin: Mapping[str, Any] | None = None,
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
    architecture : mapping
        What the dense model is built from: its kind, a key of `BUILDERS`, and what that function takes, as
        plain values.
    origin : mapping, optional
        Where the dense model came from and what it was trained on, as plain values.
    """
    about = {
        "base_model": base_model,
        "licence": licence,
        "origin": dict(origin or {}),
        "how": dict(how),
        "kept": kept._asdict(),
        "architecture": dict(architecture),
        "ranks": _ranks(model),
        "joint": list(joint_layers(model)),
    }
    with whole_file(Path(folder) / "model.safetensors") as partial:
        save_model(model, str(partial))
    with whole_file(Path(folder) / "config.json") as partial:
        partial.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _ranks(model: nn.Module) -> dict[str, Any]:
    """Layers of low rank by path; of those that share their matrices the table, or else the first."""
    modules = [(path, m) for path, m in model.named_modules() if isinstance(m, LOW_RANK)]
    modules.sort(key=lambda one: not isinstance(one[1], LowRankEmbedding))
    first: dict[int, str] = {}
    for path, m in modules:
        first.setdefault(id(_outer(m)), path)
    return {path: _rank(m) for path, m in modules if first[id(_outer(m))] == path}


def _outer(layer: LowRankLinear | PivotLinear | LowRankEmbedding) -> object:
    """What is the same object for layers that share their matrices."""
    return layer.outer if isinstance(layer, LowRankEmbedding) else layer.outer[0]


def _rank(layer: LowRankLinear | PivotLinear | LowRankEmbedding) -> dict[str, Any]:
    if isinstance(layer, LowRankEmbedding):
        return {"rows": layer.num_embeddings, "width": layer.embedding_dim, "rank": len(layer.inner)}
    form = {"form": "pivot"} if isinstance(layer, PivotLinear) else {}
    return {"in": layer.in_features, "pieces": [piece._asdict() for piece in layer.layout]} | form


def load_compressed(folder: str | Path, skeleton: nn.Module | None = None) -> nn.Module:
    """Read a fused model, which has the interface of its dense model.

    Parameters
    ----------
    folder : str or path
        As written by :func:`save_compressed`.
    skeleton : nn.Module, optional
        A dense model of the base model's shape; its weights do not matter. Changed in place. By default it is
        built from the folder's description.

    Returns
    -------
    nn.Module
        The model, in evaluation mode.

    Raises
    ------
    InputError
        A file that is absent, is not of its format, or does not fit the skeleton.
    """
    config, weights = Path(folder) / "config.json", Path(folder) / "model.safetensors"
    about = _read(config)
    model = _build(about, config) if skeleton is None else skeleton
    for path in about["joint"]:
        _join(model, path, config)
    for path, ranks in about["ranks"].items():
        _make_low_rank(model, path, ranks, config)
    try:
        load_model(model, str(weights))
    except FileNotFoundError:
        raise InputError(weights, "file", "does not exist; compress the model first") from None
    except (SafetensorError, RuntimeError, OSError) as error:
        raise InputError(weights, "weights", f"do not fit the model: {error}") from None
    check_finite(model.named_parameters(), weights, "compress the model again")
    _check_orders(model, weights)
    return model.eval()


def _check_orders(model: nn.Module, weights: Path) -> None:
    for path, layer in model.named_modules():
        if isinstance(layer, PivotLinear) and not layer.in_order():
            raise InputError(weights, f"{path}.order", "is no order of the inputs; compress the model again")


def _read(config: Path) -> dict[str, Any]:
    try:
        about = json.loads(config.read_text(encoding="utf-8"))
        kept = {"ranks": dict(about["ranks"]), "joint": [str(path) for path in about.get("joint", [])]}
        return {"architecture": about.get("architecture"), **kept}
    except FileNotFoundError:
        raise InputError(config, "file", "does not exist; compress the model first") from None
    except OSError as error:
        raise InputError(config, "file", f"cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(config, "ranks", "cannot be read; compress the model again") from None


def _build(about: Mapping[str, Any], config: Path) -> nn.Module:
    described = about["architecture"]
    if not isinstance(described, dict) or "kind" not in described:
        raise InputError(config, "architecture", "names no kind of model; give the dense model as skeleton")
    described = dict(described)
    kind = str(described.pop("kind"))
    if kind not in BUILDERS:
        raise InputError(
            config, "architecture.kind", f"{kind} is not known; it is one of {', '.join(BUILDERS)}"
        )
    module, _, function = BUILDERS[kind].partition(":")
    build = getattr(importlib.import_module(module), function)
    try:
        model: nn.Module = build(described)
    except Exception as error:  # whatever torch and transformers raise of an impossible one
        said = str(error) or type(error).__name__
        raise InputError(config, "architecture", f"builds no model: {said}") from error
    return model


def _join(skeleton: nn.Module, path: str, config: Path) -> None:
    try:
        join(skeleton, path)
    except InputError:
        problem = "names no layers of the base model that could be one; give the model it was made from"
        raise InputError(config, path, problem) from None


def _make_low_rank(skeleton: nn.Module, path: str, ranks: Mapping[str, Any], config: Path) -> None:
    try:
        dense = skeleton.get_submodule(path)
        table = "rows" in ranks
        fits = _make_table(skeleton, dense, ranks) if table else _make_linear(skeleton, dense, ranks)
    except (AttributeError, TypeError, KeyError, RuntimeError):
        raise InputError(
            config, path, "names no layer of the base model; give the model it was made from"
        ) from None
    if not fits:
        raise InputError(
            config,
            path,
            "has another shape or rank than the base model allows; give the model it was made from",
        )


def _make_linear(skeleton: nn.Module, dense: nn.Module, ranks: Mapping[str, Any]) -> bool:
    pieces = [Piece(**piece) for piece in ranks["pieces"]]
    shape = sum(piece.outputs for piece in pieces), ranks["in"]
    possible = all(piece.rank is None or 0 <= piece.rank <= min(piece.outputs, shape[1]) for piece in pieces)
    if not is_linear(dense) or dense_weight(dense).shape != shape or not possible:
        return False
    kind = PivotLinear if ranks.get("form") == "pivot" else LowRankLinear
    made: dict[nn.Module, nn.Module] = {}  # a module may stand at several paths
    first = None
    for place, own in list(sharers(skeleton, dense)):
        layer = kind(shape[1], pieces, dense_bias(own) is not None).to(dense_weight(dense))
        first = first or layer
        replace(skeleton, place, made.setdefault(own, _sharing(layer, first)))
    return True


def _sharing(layer: LowRankLinear | PivotLinear, first: LowRankLinear | PivotLinear) -> nn.Module:
    """The layer with the matrices of another, and its own offset."""
    layer.inner, layer.outer = first.inner, first.outer
    if isinstance(layer, PivotLinear) and isinstance(first, PivotLinear):
        layer.order = first.order
    return layer


def _make_table(skeleton: nn.Module, dense: nn.Module, ranks: Mapping[str, Any]) -> bool:
    rows, width, rank = ranks["rows"], ranks["width"], ranks["rank"]
    possible = 0 <= rank <= min(rows, width)
    if not isinstance(dense, nn.Embedding) or dense.weight.shape != (rows, width) or not possible:
        return False
    table = LowRankEmbedding(rows, width, rank, dense.padding_idx).to(dense.weight)
    for place, layer in list(sharers(skeleton, dense)):
        if isinstance(layer, nn.Embedding):
            replace(skeleton, place, table)
        else:
            tied = LowRankLinear(width, [Piece(rows, rank)], bias=False)
            tied.inner, tied.outer, tied.bias = (
                table.inner,
                nn.ParameterList([table.outer]),
                dense_bias(layer),
            )
            replace(skeleton, place, tied)
    return True
