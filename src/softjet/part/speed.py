"""How fast a trained network answers, beside weaver-core with the same weights."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from softjet.config.part import N_FEATURES, ParTModel
from softjet.latency.pairs import measure_pair
from softjet.latency.ratio import summarise
from softjet.part.inference import InferenceModel
from softjet.part.model import ParticleTransformer
from softjet.part.prediction import JetBatch
from softjet.part.weaver import export_weaver

THEIRS = "weaver-core"

Inputs = tuple[Tensor, Tensor, Tensor]
"""Features (B, F, P), vectors (B, 4, P) and mask (B, 1, P)."""


class Agreement(NamedTuple):
    """How near probabilities are to those of the model itself, in float32."""

    same_class: float
    """Share of jets with the same most likely class."""
    largest: float
    """Largest difference of a probability."""
    n: int
    """Jets compared."""


def weaver_network(model: ParticleTransformer) -> nn.Module:
    """Network of weaver-core with the weights of a model, as its configurations build it, in evaluation."""
    logging.getLogger("weaver").setLevel(logging.ERROR)
    from weaver.nn.model.ParticleTransformer import ParticleTransformer as Theirs

    shape = model.config
    network: nn.Module = Theirs(
        N_FEATURES[shape.features], shape.classes, embed_dims=list(shape.embed_dims),
        pair_embed_dims=list(shape.pair_embed_dims), num_heads=shape.heads, num_layers=shape.blocks,
        num_cls_layers=shape.class_blocks, use_pre_activation_pair=False, fc_params=[], version=1,
        trim=True,
    )  # fmt: skip
    network.load_state_dict(export_weaver(model))
    return network.eval()


def as_weaver_reads(batches: Iterable[JetBatch], shape: ParTModel, size: int, seed: int) -> list[Inputs]:
    """The same jets in any order, padded to the most particles of a jet, in batches of a size."""
    parts = [
        [nn.functional.pad(tensor, (0, shape.max_particles - tensor.shape[-1])) for tensor in _inputs(batch)]
        for batch in batches
    ]
    whole = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
    order = torch.randperm(len(whole[0]), generator=torch.Generator().manual_seed(seed))
    features, vectors, mask = ([tensor[rows] for rows in order.split(size)] for tensor in whole)
    return list(zip(features, vectors, mask, strict=True))


def measure_inference(
    model: ParticleTransformer,
    batches: Sequence[JetBatch],
    compared: Iterator[JetBatch],
    samples: int,
    size: int,
    noise: float = 0.2,
    seed: int = 1,
) -> pd.DataFrame:
    """Time every way of ours against weaver-core, call by call in turns.

    Parameters
    ----------
    model : ParticleTransformer
        Trained.
    batches : sequence of JetBatch
        Jets that are timed, as our loader sorts them; all of them make one call.
    compared : iterator of JetBatch
        Jets on which probabilities are compared.
    samples : int
        Timed calls of each.
    size : int
        Jets a batch of weaver-core.
    noise : float
        See :func:`softjet.latency.summarise`.
    seed : int
        Of weaver-core's order, and of the bootstrap.

    Returns
    -------
    DataFrame
        way, jets, jets_per_second, their_jets_per_second (medians), then the columns of
        :func:`softjet.latency.summarise` with weaver-core as a, and same_class, largest, compared.
    """
    jets = sum(len(batch.labels) for batch in batches)
    ours = {name: (way, [_inputs(batch) for batch in batches]) for name, way in ways(model).items()}
    theirs = weaver_network(model), as_weaver_reads(batches, model.config, size, seed)
    near = agreements(model, {name: way for name, (way, _) in ours.items()}, compared)
    rows = []
    for name, own in ours.items():
        table = measure_pair(
            partial(_answer, *theirs), partial(_answer, *own), samples, 2, names=(THEIRS, name), batch=size
        )
        found: dict[str, Any] = dict(summarise(table, (THEIRS, name), noise=noise, seed=seed).iloc[0])
        rates = {"jets_per_second": found["median_b"], "their_jets_per_second": found["median_a"]}
        per_second = {key: 1e9 * jets / nanoseconds for key, nanoseconds in rates.items()}
        rows.append({"way": name, "jets": jets, **per_second, **found, **near[name]._asdict()})
    return pd.DataFrame(rows).rename(columns={"n": "compared"})


def ways(model: ParticleTransformer) -> Mapping[str, Callable[..., Tensor]]:
    """Our ways to logits: the model as it is trained, and prepared for inference."""
    return {
        "model, float32": model.eval(),
        "inference, float32": InferenceModel(model, "float32"),
        "inference, bfloat16": InferenceModel(model, "bfloat16"),
    }


@torch.inference_mode()
def agreements(
    model: ParticleTransformer, others: Mapping[str, Callable[..., Tensor]], batches: Iterator[JetBatch]
) -> dict[str, Agreement]:
    """Compare the probabilities of other ways with those of the model itself."""
    same, largest, n = Counter[str](), dict.fromkeys(others, 0.0), 0
    for batch in batches:
        inputs = _inputs(batch)
        expected = model(*inputs).softmax(1)
        n += len(expected)
        for name, other in others.items():
            found = other(*inputs).softmax(1)
            same[name] += int((found.argmax(1) == expected.argmax(1)).sum())
            largest[name] = max(largest[name], float((found - expected).abs().max()))
    return {name: Agreement(same[name] / n, largest[name], n) for name in others}


def some(batches: Iterator[JetBatch], every: int) -> list[JetBatch]:
    """Every so-many-th batch: jets of all lengths, since batches go from short to long."""
    return list(islice(batches, every // 2, None, every))


def _inputs(batch: JetBatch) -> Inputs:
    return batch.features, batch.vectors, batch.mask


def _answer(network: Callable[..., Tensor], batches: Sequence[Inputs]) -> None:
    for inputs in batches:
        network(*inputs)
