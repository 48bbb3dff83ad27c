"""Weights of weaver-core's ParticleTransformer under softjet's names, and back."""

import re
from collections.abc import Callable, Mapping
from typing import get_args

import torch
from pydantic import ValidationError
from torch import Tensor

from softjet.config.part import N_FEATURES, HeadScale, ParTModel
from softjet.errors import InputError
from softjet.part.model import ParticleTransformer

Names = tuple[tuple[str, str], ...]

_PLACES: Names = (
    ("embed.input_bn.", "embed.norm."),
    ("embed.embed.", "embed.layers."),
    ("pair_embed.embed.", "pair_embed."),
    ("cls_blocks.", "class_blocks."),
    ("cls_token", "class_token"),
    ("fc.0.", "head."),
)
_IN_A_BLOCK: Names = (
    ("pre_attn_norm.", "attention_norm."),
    ("attn.", "attention."),
    ("post_attn_norm.", "branch_norm."),
    ("pre_fc_norm.", "feed_norm."),
    ("fc1.", "expand."),
    ("post_fc_norm.", "hidden_norm."),
    ("fc2.", "contract."),
    ("c_attn", "head_scale"),
    ("w_resid", "residual_scale"),
)


def import_weaver(
    state_dict: Mapping[str, Tensor], head_scale: HeadScale = "current", where: object = "state_dict"
) -> dict[str, Tensor]:
    """Weights of a weaver-core ParticleTransformer (version 1, fc_params []) under softjet's names.

    Parameters
    ----------
    state_dict : mapping of str to Tensor
        As of its `state_dict()`; a prefix `mod.` and the older name `in_proj_weight` are understood.
    head_scale : "current" or "2022"
        "current": weights of weaver-core 0.5 and later, which multiplies each head by its scale. "2022":
        weights of 0.4 and older, the published ones among them. There the scale also transposed head and
        channel, so the same numbers mean another function; output projection and scale are folded such that
        the function stays.
    where : object
        What an error names as the place, such as the file.

    Returns
    -------
    dict of str to Tensor
        For `ParticleTransformer.load_state_dict`; 1x1 convolutions became matrices.

    Raises
    ------
    InputError
        A weight is absent, unknown or of a wrong shape.
    """
    if head_scale not in get_args(HeadScale):
        raise InputError("head_scale", repr(head_scale), f"is not known: give one of {get_args(HeadScale)}")
    theirs = {_current_name(key): value for key, value in state_dict.items()}
    _check(theirs, where)
    weights = {_our_name(key): _matrix(key, value) for key, value in theirs.items()}
    return _fold_head_scale(weights) if head_scale == "2022" else weights


def export_weaver(model: ParticleTransformer) -> dict[str, Tensor]:
    """Weights for weaver-core 0.5.3's `ParticleTransformer(version=1, fc_params=[])` of the same shape.

    Parameters
    ----------
    model : ParticleTransformer
        With batch renormalisation it is the same function in evaluation only.

    Returns
    -------
    dict of str to Tensor
        Copies, for `load_state_dict(strict=True)`.
    """
    named = {_their_name(name): value.detach() for name, value in model.state_dict().items()}
    return {key: _convolution(key, value).clone().contiguous() for key, value in named.items()}


def weaver_shape(state_dict: Mapping[str, Tensor], where: object = "state_dict") -> ParTModel:
    """Shape of the network that weaver-core weights belong to, `normalisation: published`.

    Dropout and the number of particles do not show in weights: they stay at our defaults.

    Raises
    ------
    InputError
        A weight that tells the shape is absent, or the shape is none that `ParTModel` knows.
    """
    return _shape({_current_name(key): value for key, value in state_dict.items()}, where)


def _current_name(key: str) -> str:
    return re.sub(r"\.attn\.in_proj_(?=weight$|bias$)", ".attn.in_proj.", key.removeprefix("mod."))


def _our_name(key: str) -> str:
    return _translate(key, lambda names: names)


def _their_name(name: str) -> str:
    return _translate(name, lambda names: tuple((ours, theirs) for theirs, ours in names))


def _translate(key: str, direct: Callable[[Names], Names]) -> str:
    """Change the name's place in the model, and within a block that of its part."""
    block, rest = re.fullmatch(r"((?:\w+_)?blocks\.\d+\.)?(.*)", key, re.S).groups(default="")  # type: ignore[union-attr]
    if block:
        return _with_new_start(block, direct(_PLACES)) + _with_new_start(rest, direct(_IN_A_BLOCK))
    return _with_new_start(rest, direct(_PLACES))


def _with_new_start(name: str, starts: Names) -> str:
    found = next((pair for pair in starts if name.startswith(pair[0])), ("", ""))
    return found[1] + name[len(found[0]) :]


def _matrix(key: str, value: Tensor) -> Tensor:
    return value.squeeze(-1) if key.startswith("pair_embed.") and value.ndim == 3 else value


def _convolution(key: str, value: Tensor) -> Tensor:
    return value.unsqueeze(-1) if key.startswith("pair_embed.") and value.ndim == 2 else value


def _fold_head_scale(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the old head scale c into the output projection, and leave ones.

    weaver-core 0.4 does view(T, B, H, D), einsum("tbhd,h->tbdh"), reshape: its channel k = d H + h is
    c[h] times channel h D + d of the projection.
    """
    folded = dict(weights)
    for name in [name for name in weights if name.endswith(".head_scale")]:
        scale = weights[name]
        folded[name] = torch.ones_like(scale)
        for kind in ("weight", "bias"):
            projection = f"{name.removesuffix('head_scale')}attention.out_proj.{kind}"
            rows = weights[projection].unflatten(0, (len(scale), -1))
            scaled = rows * scale.view(-1, *[1] * (rows.ndim - 1))
            folded[projection] = scaled.transpose(0, 1).flatten(0, 1).contiguous()
    return folded


def _check(theirs: Mapping[str, Tensor], where: object) -> None:
    """Hold the weights against those of the shape that they tell."""
    shape = _shape(theirs, where)
    with torch.device("meta"):
        expected = export_weaver(ParticleTransformer(shape))
    for key, value in expected.items():
        if key not in theirs:
            raise InputError(where, key, f"is missing; expected with shape {tuple(value.shape)}")
        if theirs[key].shape != value.shape:
            found, wanted = tuple(theirs[key].shape), tuple(value.shape)
            raise InputError(where, key, f"has shape {found}, expected {wanted} with {_describe(shape)}")
        if theirs[key].is_floating_point() != value.is_floating_point():
            raise InputError(where, key, f"is {theirs[key].dtype}, expected {value.dtype}; export it again")
    for key in theirs:
        if key not in expected:
            advice = "expected are those of weaver-core's ParticleTransformer(version=1, fc_params=[])"
            raise InputError(where, key, f"is no known weight; {advice}")


def _describe(shape: ParTModel) -> str:
    return (
        f"{N_FEATURES[shape.features]} features, width {shape.embed_dims[-1]}, {shape.heads} heads, "
        f"{shape.blocks} + {shape.class_blocks} blocks, {shape.classes} classes"
    )


def _shape(theirs: Mapping[str, Tensor], where: object) -> ParTModel:
    def rows(key: str) -> int:
        if key not in theirs or not theirs[key].ndim:
            advice = "is this a checkpoint of weaver-core's ParticleTransformer(version=1, fc_params=[])?"
            raise InputError(where, key, f"is missing; {advice}")
        return len(theirs[key])

    width, heads = rows("blocks.0.w_resid"), rows("blocks.0.c_attn")
    if not heads or not width or width % heads:
        raise InputError(
            where, "blocks.0.c_attn", f"has {heads} heads, which do not divide the width {width}"
        )
    fields = {
        "features": _feature_set(rows("embed.input_bn.weight"), where),
        "classes": rows("fc.0.weight"),
        "embed_dims": (*_widths(theirs, "embed.embed.")[:-1], width),
        "pair_embed_dims": _widths(theirs, "pair_embed.embed.")[:-1],
        "heads": heads,
        "blocks": _count(theirs, "blocks"),
        "class_blocks": _count(theirs, "cls_blocks"),
        "expansion": rows("blocks.0.fc1.weight") // width,
        "normalisation": "published",
    }
    try:
        return ParTModel.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(where, field, f"{first['msg']}; read off the weights' shapes") from error


def _feature_set(n_features: int, where: object) -> str:
    for kind, known in N_FEATURES.items():
        if known == n_features:
            return kind
    known_sets = ", ".join(f"{n} ({kind})" for kind, n in N_FEATURES.items())
    raise InputError(where, "embed.input_bn.weight", f"has {n_features} features; known are {known_sets}")


def _widths(theirs: Mapping[str, Tensor], prefix: str) -> tuple[int, ...]:
    """Output widths of the linear layers of a chain, in order."""
    found = {
        int(key.removeprefix(prefix).split(".")[0]): len(value)
        for key, value in theirs.items()
        if re.fullmatch(re.escape(prefix) + r"[0-9]{1,4}\.weight", key) and value.ndim > 1
    }
    return tuple(found[place] for place in sorted(found))


def _count(theirs: Mapping[str, Tensor], blocks: str) -> int:
    return len({key.split(".")[1] for key in theirs if key.startswith(f"{blocks}.")})
