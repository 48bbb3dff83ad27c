"""How fast a trained network answers on a GPU, beside weaver-core with the same weights there."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from softjet.device import autocast, device_of_model
from softjet.latency.pairs import Call, finished, measure_turns
from softjet.latency.work import Work, work_of
from softjet.part.inference import InferencePrecision
from softjet.part.model import ParticleTransformer
from softjet.part.prediction import JetBatch
from softjet.part.speed import KEPT, THEIRS, WARMUP, Given, Network, agreements, moved, rates_of
from softjet.part.speed_weaver import as_weaver_reads, inputs_of, one_by_one, weaver_network
from softjet.part.static import Replays, StaticModel


class Way(NamedTuple):
    """A way to logits on a GPU.

    Parameters
    ----------
    make : callable
        From the model to what answers.
    like : str, optional
        Another way with the same work, where this one's cannot be counted.
    theirs : bool
        It reads jets as weaver-core does.
    """

    make: Callable[[ParticleTransformer], Network]
    like: str | None = None
    theirs: bool = False


def compiled(model: ParticleTransformer, precision: InferencePrecision = "float16") -> StaticModel:
    """A model for inference whose blocks are compiled, once for all shapes."""
    ready = StaticModel(model, precision)
    for block in (*ready.blocks, *ready.class_blocks):
        # Whole, or an error: what fell back to eager code would be timed under another name.
        block.compile(dynamic=True, fullgraph=True)
    return ready


def _theirs(model: ParticleTransformer) -> nn.Module:
    return weaver_network(model).to(device_of_model(model))


def _theirs_in_bfloat16(model: ParticleTransformer) -> Network:
    network = _theirs(model)

    def answer(*inputs: Tensor) -> Tensor:
        with autocast("bfloat16", "cuda"):
            return network(*inputs).float()

    return answer


GPU_WAYS: Mapping[str, Way] = {
    "weaver-core, bfloat16 autocast": Way(_theirs_in_bfloat16, theirs=True),
    "model, float32": Way(lambda model: model.eval()),
    "inference, float32": Way(StaticModel),
    "inference, bfloat16": Way(partial(StaticModel, precision="bfloat16")),
    "inference, float16": Way(partial(StaticModel, precision="float16")),
    "inference, float16, pairs by PyTorch": Way(partial(StaticModel, precision="float16", fused=False)),
    "inference, float16, compiled": Way(compiled, like="inference, float16"),
    "inference, float16, CUDA graph": Way(
        lambda model: Replays(StaticModel(model, "float16")), like="inference, float16"
    ),
    "inference, float16, compiled, CUDA graph": Way(
        lambda model: Replays(compiled(model)), like="inference, float16"
    ),
}
"""weaver-core in the lower precision, the model as it is trained, and prepared for inference."""


def measure_on_gpu(
    model: ParticleTransformer,
    batches: Sequence[JetBatch],
    compared: Iterable[JetBatch],
    samples: int,
    size: int,
    device: torch.device,
    noise: float = 0.2,
    seed: int = 1,
    ways: Mapping[str, Way] = GPU_WAYS,
) -> pd.DataFrame:
    """Time all ways and weaver-core in float32 on the same device, call by call in turns.

    Jets lie on the device before the clock runs, and logits stay there.

    Parameters
    ----------
    model : ParticleTransformer
        Trained; moved to the device.
    batches : sequence of JetBatch
        Jets that are timed, as our loader sorts them; all of them make one call.
    compared : iterable of JetBatch
        Jets on which probabilities are compared.
    samples : int
        Timed calls of each.
    size : int
        Jets a batch of weaver-core.
    device : torch.device
    noise, seed
        As for :func:`softjet.part.speed.measure_inference`.
    ways : mapping of str to Way

    Returns
    -------
    DataFrame
        As of :func:`softjet.part.speed.measure_inference`, and microseconds (of a jet). What the kernel for
        pairs multiplies is not counted as work.
    """
    model = model.to(device)
    here = [moved(batch, device) for batch in batches]
    read = as_weaver_reads(here, model.config, size, seed)
    ours, as_theirs = ([inputs_of(batch) for batch in group] for group in (here, read))
    theirs = finished(partial(one_by_one, _theirs(model), as_theirs), device)
    networks = {name: way.make(model) for name, way in ways.items()}
    calls = {
        name: finished(partial(one_by_one, network, as_theirs if ways[name].theirs else ours), device)
        for name, network in networks.items()
    }
    works = _works(ways, calls)
    near = agreements(model, networks, (moved(batch, device) for batch in compared))
    with torch.inference_mode():
        their_work = work_of(theirs)
    turns = measure_turns({THEIRS: theirs} | calls, samples, WARMUP)
    given, rows = Given.of([here]), []
    for name, way in ways.items():
        table = _pairs(turns, name, size, given.longest)
        row = rates_of(table, name, KEPT, given, (works[way.like or name], their_work), noise, seed)
        rows.append({**row, "microseconds": 1e6 / row["jets_per_second"], **near[name].columns()})
    return pd.DataFrame(rows)


def _pairs(turns: pd.DataFrame, name: str, size: int, length: int) -> pd.DataFrame:
    """Calls of a way and of weaver-core, in the form of :func:`softjet.latency.measure_pair`."""
    pairs = turns[turns["variant"].isin((THEIRS, name))].assign(runtime="torch", device="cuda", batch=size)
    # Each round has one call of both, so that neighbours are a pair.
    about = {"length": length, "threads": torch.get_num_threads(), "warmup": WARMUP}
    return pairs.assign(**about, order=range(len(pairs)))


@torch.inference_mode()
def _works(ways: Mapping[str, Way], calls: Mapping[str, Call]) -> dict[str, Work]:
    """Work of the ways that can be counted, before anything is compiled."""
    return {name: work_of(calls[name]) for name, way in ways.items() if way.like is None}
