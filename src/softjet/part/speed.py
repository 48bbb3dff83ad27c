"""How fast a network answers and trains, beside weaver-core with the same weights."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from softjet.config.part import N_FEATURES, ParTModel, ParTRun, Training
from softjet.jets.batch import Batch
from softjet.latency.pairs import measure_pair
from softjet.latency.peaks import with_limits
from softjet.latency.ratio import summarise
from softjet.latency.work import Work, work_of
from softjet.part.feeding import training_step
from softjet.part.inference import InferenceModel
from softjet.part.lanes import side_by_side
from softjet.part.model import ParticleTransformer
from softjet.part.prediction import JetBatch
from softjet.part.weaver import export_weaver
from softjet.progress import Progress

THEIRS, TRAINING = "weaver-core", "training"

WARMUP = 2
"""Calls of each before the clock counts."""

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


def as_weaver_reads(batches: Iterable[JetBatch], shape: ParTModel, size: int, seed: int) -> list[Batch]:
    """The same jets in any order, padded to the most particles of a jet, in batches of a size."""
    parts = [
        [
            nn.functional.pad(tensor, (0, shape.max_particles - tensor.shape[-1]))
            for tensor in inputs_of(batch)
        ]
        + [batch.labels, batch.rows]
        for batch in batches
    ]
    whole = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
    order = torch.randperm(len(whole[0]), generator=torch.Generator().manual_seed(seed)).to(whole[0].device)
    return [Batch(*(tensor[rows] for tensor in whole)) for rows in order.split(size)]


def moved(batch: JetBatch, device: torch.device | str) -> Batch:
    """A batch on a device."""
    parts = *inputs_of(batch), batch.labels, batch.rows
    return Batch(*(tensor.to(device) for tensor in parts))


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
        :func:`softjet.latency.summarise` with weaver-core as a, the work of a call (see
        :meth:`softjet.latency.work.Work.columns`), jet_flops, their_jet_flops (of a jet), and same_class,
        largest, compared.
    """
    jets = sum(len(batch.labels) for batch in batches)
    inputs = [inputs_of(batch) for batch in batches]
    ours = {name: make(model) for name, make in WAYS.items()}
    read = [inputs_of(batch) for batch in as_weaver_reads(batches, model.config, size, seed)]
    theirs = partial(one_by_one, weaver_network(model), read)
    near = agreements(model, ours, compared)
    with torch.inference_mode():
        their_work = work_of(theirs)
    rows = []
    for name, way in ours.items():
        with torch.inference_mode():
            works = work_of(partial(one_by_one, way, inputs)), their_work
        answer = partial(_answer_side_by_side, way, inputs)
        table = measure_pair(theirs, answer, samples, WARMUP, names=(THEIRS, name), batch=size)
        rows.append({**rates_of(table, name, jets, works, noise, seed), **near[name]._asdict()})
    return pd.DataFrame(rows).rename(columns={"n": "compared"})


def measure_training(
    run: ParTRun,
    batches: Iterator[JetBatch],
    samples: int,
    steps: int,
    size: int,
    noise: float = 0.2,
    seed: int = 1,
    device: torch.device | str = "cpu",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Time steps of our training against weaver-core's from the same weights, on the same jets, in turns.

    A call is a few steps, and both go on training from call to call: losses tell whether they learn alike.
    Optimiser and rates are the same.

    Parameters
    ----------
    run : ParTRun
        Shape and training.
    batches : iterator of JetBatch
        Endless; jets as our loader batches them.
    samples : int
        Timed calls of each.
    steps : int
        Our steps a call.
    size : int
        Jets a step of weaver-core.
    noise : float
        See :func:`softjet.latency.summarise`.
    seed : int
        Of the first weights, of weaver-core's order, and of the bootstrap.
    device : torch.device or str
        What trains. The jets of all calls lie there before the clock runs.

    Returns
    -------
    rates : DataFrame
        As of :func:`measure_inference`, a row, without the agreement; the work is a mean of the calls of the
        warm-up.
    losses : DataFrame
        way, call (from 0, warm-up included), loss (mean over the jets of the call).
    """
    torch.manual_seed(seed)
    model = ParticleTransformer(run.model).train().to(device)
    theirs = weaver_network(model).train().to(device)
    calls = [[moved(b, device) for b in islice(batches, steps)] for _ in range(samples + WARMUP)]
    jets = sum(len(batch.labels) for call in calls for batch in call) / len(calls)
    shuffled = [as_weaver_reads(call, run.model, size, seed) for call in calls]
    losses: dict[str, list[float]] = {THEIRS: [], TRAINING: []}
    as_it_comes = run.training.model_copy(update={"precision": "float32"})
    with Progress(2 * len(calls), "time training beside weaver-core", "calls") as progress:
        learn_as_theirs = _learning(theirs, as_it_comes, shuffled, losses[THEIRS], progress)
        learn = _learning(model, run.training, calls, losses[TRAINING], progress)
        # The warm-up is counted, since a call trains and so cannot be made twice.
        works = work_of(learn, WARMUP), work_of(learn_as_theirs, WARMUP)
        names, kind = (THEIRS, TRAINING), torch.device(device).type
        table = measure_pair(learn_as_theirs, learn, samples, 0, names=names, device=kind, batch=size)
    rows = [(way, call, loss) for way, found in losses.items() for call, loss in enumerate(found)]
    rates = pd.DataFrame([rates_of(table, TRAINING, jets, works, noise, seed)])
    return rates, pd.DataFrame(rows, columns=["way", "call", "loss"])


def _learning(
    network: nn.Module,
    config: Training,
    calls: Sequence[Sequence[JetBatch]],
    losses: list[float],
    progress: Progress,
) -> Callable[[], None]:
    """A call that learns from the next jets, and notes their mean loss."""
    step, remaining = training_step(network, config), iter(calls)

    # The clock runs where nothing is differentiated.
    @torch.inference_mode(False)
    @torch.enable_grad()
    def learn() -> None:
        batches = next(remaining)
        total = sum(step(batch) * len(batch.labels) for batch in batches)
        losses.append(total / sum(len(batch.labels) for batch in batches))
        progress.advance(note=f"loss {losses[-1]:.3f}")

    return learn


def rates_of(
    table: pd.DataFrame, way: str, jets: float, works: tuple[Work, Work], noise: float, seed: int
) -> dict[str, Any]:
    """Row of a way: rates beside weaver-core's, the ratio, and the work of ours and of theirs."""
    found: dict[str, Any] = dict(summarise(table, (THEIRS, way), noise=noise, seed=seed).iloc[0])
    rates = {"jets_per_second": found["median_b"], "their_jets_per_second": found["median_a"]}
    per_second = {key: 1e9 * jets / nanoseconds for key, nanoseconds in rates.items()}
    ours, theirs = works
    a_jet = {"jet_flops": ours.total / jets, "their_jet_flops": theirs.total / jets}
    return {"way": way, "jets": jets, **per_second, **found, **ours.columns(), **a_jet}


def with_ceilings(table: pd.DataFrame, peaks: pd.DataFrame) -> pd.DataFrame:
    """Set rates of jets beside those that the machine's peaks allow.

    Parameters
    ----------
    table : DataFrame
        Of :func:`measure_inference` or :func:`measure_training`.
    peaks : DataFrame
        Of :func:`softjet.latency.peaks.summarise_peaks`.

    Returns
    -------
    DataFrame
        With the columns of :func:`softjet.latency.peaks.with_limits`, and ceiling (jets a second).
    """
    table = with_limits(table, peaks)
    return table.assign(ceiling=1e9 * table["jets"] / table["limit"])


WAYS: Mapping[str, Callable[[ParticleTransformer], Callable[..., Tensor]]] = {
    "model, float32": lambda model: model.eval(),
    "inference, float32": partial(InferenceModel, precision="float32"),
    "inference, bfloat16": partial(InferenceModel, precision="bfloat16"),
}
"""Our ways to logits: the model as it is trained, and prepared for inference."""


@torch.inference_mode()
def agreements(
    model: ParticleTransformer, others: Mapping[str, Callable[..., Tensor]], batches: Iterator[JetBatch]
) -> dict[str, Agreement]:
    """Compare the probabilities of other ways with those of the model itself."""
    same, largest, n = Counter[str](), dict.fromkeys(others, 0.0), 0
    for batch in batches:
        inputs = inputs_of(batch)
        expected = model(*inputs).softmax(1)
        n += len(expected)
        for name, other in others.items():
            found = other(*inputs).softmax(1)
            same[name] += int((found.argmax(1) == expected.argmax(1)).sum())
            largest[name] = max(largest[name], float((found - expected).abs().max()))
    return {name: Agreement(same[name] / n, largest[name], n) for name in others}


def some(batches: Iterator[JetBatch], every: int) -> list[JetBatch]:
    """Every so-many-th batch: jets of all lengths, since batches go from long to short."""
    return list(islice(batches, every // 2, None, every))


def inputs_of(batch: JetBatch) -> Inputs:
    """What a network is given of a batch."""
    return batch.features, batch.vectors, batch.mask


def one_by_one(network: Callable[..., Tensor], batches: Sequence[Inputs]) -> None:
    """Let a network answer batches, one after the other."""
    for inputs in batches:
        network(*inputs)


def _answer_side_by_side(network: Callable[..., Tensor], batches: Sequence[Inputs]) -> None:
    @torch.inference_mode()
    def answer(inputs: Inputs) -> None:
        network(*inputs)

    deque(side_by_side(answer, batches), maxlen=0)
