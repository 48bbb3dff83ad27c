"""Weights of weaver-core's ParticleTransformer under softjet's names."""

import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

_RENAMED = (
    (r"^mod\.", ""),
    (r"^embed\.input_bn\.", "embed.norm."),
    (r"^embed\.embed\.", "embed.layers."),
    (r"^pair_embed\.embed\.", "pair_embed."),
    (r"^cls_blocks\.", "class_blocks."),
    (r"^cls_token$", "class_token"),
    (r"^fc\.0\.", "head."),
    (r"\.pre_attn_norm\.", ".attention_norm."),
    (r"\.attn\.in_proj_", ".attention.in_proj."),
    (r"\.attn\.", ".attention."),
    (r"\.post_attn_norm\.", ".branch_norm."),
    (r"\.pre_fc_norm\.", ".feed_norm."),
    (r"\.fc1\.", ".expand."),
    (r"\.post_fc_norm\.", ".hidden_norm."),
    (r"\.fc2\.", ".contract."),
    (r"\.c_attn$", ".head_scale"),
    (r"\.w_resid$", ".residual_scale"),
)


def import_weaver(
    state_dict: Mapping[str, Tensor], head_scale: Literal["current"] = "current"
) -> dict[str, Tensor]:
    """Rename the weights of a weaver-core ParticleTransformer (version 1, fc_params []).

    Parameters
    ----------
    state_dict : mapping of str to Tensor
        As of its `state_dict()`; the prefix `mod.` is taken off.
    head_scale : "current"
        The form of weaver-core 0.5 and later, which multiplies each head. Weights trained with 0.4 and older
        mean another function (there the scale also transposed head and channel): do not load them so.

    Returns
    -------
    dict of str to Tensor
        For `ParticleTransformer.load_state_dict`; 1x1 convolutions became matrices.
    """
    if head_scale != "current":
        raise ValueError(f"head_scale {head_scale!r} is not known: give 'current'")
    return {_rename(key): _matrix(value) for key, value in state_dict.items()}


def _rename(key: str) -> str:
    for pattern, name in _RENAMED:
        key = re.sub(pattern, name, key)
    return key


def _matrix(value: Tensor) -> Tensor:
    is_convolution = value.ndim == 3 and value.shape[-1] == 1 and value.shape[0] != 1
    return value.squeeze(-1) if is_convolution else value
