"""One row for each query of each layer and head: what it attends to, and how sharply."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from softjet.attention.nulls import random_attention, row_variance
from softjet.attention.recording import Recording

SCHEMA = pa.schema(
    [
        ("jet", pa.int32()),
        ("label", pa.int8()),
        ("n", pa.int16()),
        ("layer", pa.int8()),
        ("head", pa.int8()),
        ("query", pa.int16()),
        ("argmax", pa.int16()),
        ("max", pa.float32()),
        ("entropy", pa.float32()),
        ("self", pa.float32()),
        ("mutual", pa.bool_()),
        ("subjet_query", pa.int8()),
        ("subjet_key", pa.int8()),
        ("identity_query", pa.int8()),
        ("identity_key", pa.int8()),
        ("qk", pa.float32()),
        ("bias", pa.float32()),
        ("variance", pa.float32()),
        ("null_argmax", pa.int16()),
        ("null_max", pa.float32()),
        ("null_entropy", pa.float32()),
        ("null_mutual", pa.bool_()),
    ]
)
"""The queries table; docs/attention.md says what each column is."""


@dataclass(frozen=True)
class Jets:
    """What is known of B jets of up to P particles besides the model's inputs.

    jet, label : (B,) place in the sample, and class.
    real : (B, P) bool, True for particles, False for padding.
    subjet, identity : (B, P) int, exclusive kT subjet; place in softjet.jets.schema.IDENTITIES or -1.
    """

    jet: NDArray[np.int32]
    label: NDArray[np.int8]
    real: NDArray[np.bool_]
    subjet: NDArray[np.int8]
    identity: NDArray[np.int8]


def summarise(weights: Tensor) -> dict[str, Tensor]:
    """How each query spreads its weight.

    Parameters
    ----------
    weights : (B, H, P, P)
        Attention; rows of padded queries and columns of padded keys are 0.

    Returns
    -------
    dict of (B, H, P)
        argmax: key of the largest weight; max: that weight; entropy: -sum w ln w, so exp(entropy) is the
        effective number of keys; self: weight on the query itself; mutual: the largest weight of that key
        is on the query, and key and query differ.
    """
    largest, argmax = weights.max(-1)
    place = torch.arange(weights.shape[-1])
    return {
        "argmax": argmax,
        "max": largest,
        "entropy": torch.special.entr(weights).sum(-1),
        "self": weights.diagonal(dim1=-2, dim2=-1),
        "mutual": (argmax.gather(-1, argmax) == place) & (argmax != place),
    }


@dataclass(frozen=True)
class Null:
    """The random null of a layer: `variance` (B, H, P) of its logits' rows, `weights` (B, H, P, P)."""

    variance: Tensor
    weights: Tensor


def nulls(recording: Recording, jets: Jets, seed: int) -> list[Null]:
    """Random attention with the row variance of each recorded layer.

    Parameters
    ----------
    recording : Recording
        Of a batch.
    jets : Jets
        The same jets in the same order.
    seed : int
        Jet and layer are mixed into it, so that batches do not matter.
    """
    real = torch.from_numpy(jets.real)
    found = []
    for layer, qk in enumerate(recording.qk):
        variance = row_variance(qk + recording.bias, real)
        seeds = [(seed, int(jet), layer) for jet in jets.jet]
        found.append(Null(variance, random_attention(variance, real, seeds)))
    return found


def query_table(recording: Recording, random: Sequence[Null], jets: Jets) -> pa.Table:
    """Rows of the queries table for a recorded batch; padding has none.

    Parameters
    ----------
    recording : Recording
        Of the batch.
    random : sequence of Null
        One a layer, by `nulls`.
    jets : Jets
        The same jets in the same order.
    """
    return pa.concat_tables(_layer_table(recording, layer, null, jets) for layer, null in enumerate(random))


def _layer_table(recording: Recording, layer: int, null: Null, jets: Jets) -> pa.Table:
    seen, random = summarise(recording.weights[layer]), summarise(null.weights)
    winner = seen["argmax"]
    columns = seen | _ends(winner, jets) | _places(winner.shape, jets)
    columns |= {f"null_{name}": random[name] for name in ("argmax", "max", "entropy", "mutual")}
    columns |= {
        "layer": torch.full_like(winner, layer),
        "qk": _at(recording.qk[layer], winner),
        "bias": _at(recording.bias, winner),
        "variance": null.variance,
    }
    rows = np.broadcast_to(jets.real[:, None], winner.shape)
    return pa.table(
        [pa.array(columns[field.name].numpy()[rows], field.type) for field in SCHEMA], schema=SCHEMA
    )


def _at(values: Tensor, key: Tensor) -> Tensor:
    """The entry of (B, H, P, P) at each query's `key` (B, H, P)."""
    return values.gather(-1, key[..., None])[..., 0]


def _ends(key: Tensor, jets: Jets) -> dict[str, Tensor]:
    """Subjet and identity of each query and of its `key` (B, H, P)."""
    ends: dict[str, Tensor] = {}
    for name in ("subjet", "identity"):
        of_query = torch.from_numpy(getattr(jets, name))[:, None].expand(key.shape)
        ends |= {f"{name}_query": of_query, f"{name}_key": of_query.gather(-1, key)}
    return ends


def _places(shape: torch.Size, jets: Jets) -> dict[str, Tensor]:
    """Jet, class, multiplicity, head and query of every row, each (B, H, P)."""
    of_jet = {"jet": jets.jet, "label": jets.label, "n": jets.real.sum(1)}
    places = {name: torch.from_numpy(value)[:, None, None].expand(shape) for name, value in of_jet.items()}
    places["head"] = torch.arange(shape[1])[None, :, None].expand(shape)
    places["query"] = torch.arange(shape[2]).expand(shape)
    return places
