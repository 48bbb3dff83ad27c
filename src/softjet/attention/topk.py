"""Attention to the few largest weights of each query: what it costs in quality, and whether it saves time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from softjet.attention.intervene import attention_of, edited
from softjet.config.interventions import TopK
from softjet.latency.pairs import measure_pair
from softjet.latency.ratio import summarise
from softjet.part.compare import compare
from softjet.part.evaluate import metrics_table
from softjet.part.model import ParticleTransformer
from softjet.part.prediction import predict

ALL = 0
"""In the column k: all weights are kept."""

TUNED, UNTUNED = "fine-tuned", "as trained"

Inputs = tuple[Tensor, Tensor, Tensor]
"""Features (N, F, P), vectors (N, 4, P) in GeV, mask (N, 1, P)."""


def keep_largest(weights: Tensor, k: int) -> Tensor:
    """Keep the k largest weights of each query, divided by their sum.

    Parameters
    ----------
    weights : (..., S)
        Not negative.
    k : int
        Where S is not above it, nothing changes.
    """
    if k >= weights.shape[-1]:
        return weights
    places = _largest(weights.detach(), k)
    values = weights.gather(-1, places)
    return torch.zeros_like(weights).scatter(-1, places, values / values.sum(-1, keepdim=True))


def _largest(weights: Tensor, k: int) -> Tensor:
    """Places of the k largest, in any order; on a processor numpy finds them in a third of PyTorch's time."""
    if weights.device.type != "cpu":
        return weights.topk(k, dim=-1, sorted=False).indices
    return torch.from_numpy(np.argpartition(weights.float().numpy(), -k, axis=-1)[..., -k:])


@contextmanager
def with_top_k(
    model: ParticleTransformer, k: int, class_blocks: bool = False
) -> Iterator[ParticleTransformer]:
    """Let a network attend with the k largest weights of each query and head alone.

    Gradients flow through the weights that are kept, so a network can be trained in this context too.

    Parameters
    ----------
    model : ParticleTransformer
        Changed until the context ends.
    k : int
        Weights kept; 0 keeps all.
    class_blocks : bool
        Cut the class token's attention too.
    """
    blocks = [] if k == ALL else [*model.blocks, *(model.class_blocks if class_blocks else ())]
    with edited([(attention_of(block), partial(keep_largest, k=k)) for block in blocks]):
        yield model


def middle_jets(inputs: Inputs, jets: int) -> Inputs:
    """Jets of median multiplicity out of `inputs`, padded to the longest of them."""
    n = inputs[2].sum((1, 2))
    first = max(0, (len(n) - jets) // 2)
    rows = n.argsort(stable=True)[first : first + jets]
    features, vectors, mask = (tensor[rows, :, : int(n[rows].max())] for tensor in inputs)
    return features, vectors, mask


def quality(
    models: Mapping[int, ParticleTransformer],
    inputs: Inputs,
    label: NDArray[np.int64],
    classes: Sequence[str],
    settings: TopK,
) -> pd.DataFrame:
    """Accuracy, AUC and rejections with top-k attention against those with all weights.

    Parameters
    ----------
    models : mapping of int
        A network by k, which may be the same for all; that of 0 is the reference.
    inputs : features, vectors, mask
        Of N jets.
    label : (N,)
        Their classes.
    classes : sequence of str
        Names of the classes.
    settings : TopK

    Returns
    -------
    DataFrame
        A row a k and metric: k, and by `softjet.part.compare.compare` (paired bootstrap on the same jets)
        metric, class, dense, topk, change (of a rejection the ratio), low, high, n, note; and dense_low,
        dense_high, topk_low, topk_high, the intervals of the two values by
        `softjet.part.evaluate.metrics_table`.
    """
    logits = {}
    for k, model in models.items():
        with with_top_k(model, k, settings.class_blocks):
            logits[k] = predict(model, *inputs).numpy()
    own = {k: _intervals(one, label, classes, settings.seed) for k, one in logits.items()}
    place = ["metric", "class"]
    tables = [
        compare(logits[ALL], logits[k], label, classes, settings.seed)
        .assign(k=k)
        .join(own[ALL].add_prefix("dense_"), place)
        .join(own[k].add_prefix("topk_"), place)
        for k in models
        if k != ALL
    ]
    return pd.concat(tables, ignore_index=True).rename(columns={"reference": "dense", "other": "topk"})


def _intervals(
    logits: NDArray[np.floating], label: NDArray[np.int64], classes: Sequence[str], seed: int
) -> pd.DataFrame:
    return metrics_table(logits, label, classes, seed).set_index(["metric", "class"])[["low", "high"]]


def times(model: ParticleTransformer, inputs: Inputs, settings: TopK) -> pd.DataFrame:
    """Time of a forward pass with top-k attention against one with all weights, call by call in turn.

    Parameters
    ----------
    model : ParticleTransformer
        In evaluation mode.
    inputs : features, vectors, mask
        Of the jets of one call.
    settings : TopK

    Returns
    -------
    DataFrame
        A row a k in the columns of `quality`, with metric `time`: dense and topk in milliseconds, change is
        the median over pairs of topk / dense (above 1: top-k is slower), n is the pairs.
    """
    rows = []
    for k in settings.keep:

        def cut(k: int = k) -> Tensor:
            with with_top_k(model, k, settings.class_blocks):
                return model(*inputs)

        samples = measure_pair(
            cut, partial(model, *inputs), settings.samples, warmup=2, names=("topk", "dense"),
            batch=len(inputs[2]), length=inputs[2].shape[-1],
        )  # fmt: skip
        found = summarise(samples, ("topk", "dense"), seed=settings.seed).iloc[0]
        ratio = {"change": found.ratio, "low": found.low, "high": found.high}
        rows.append(
            {"k": k, "metric": "time", "class": "all", "dense": found.median_b / 1e6,
             "topk": found.median_a / 1e6, **ratio, "n": found.pairs, "note": found.note}
        )  # fmt: skip
    return pd.DataFrame(rows)
