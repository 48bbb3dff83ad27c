"""How fast a network answers and trains, beside weaver-core with the same weights."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from softjet.config.part import ParTRun
from softjet.jets.batch import Batch
from softjet.latency.pairs import Call, measure_pair
from softjet.latency.peaks import with_limits
from softjet.latency.ratio import summarise
from softjet.latency.work import Work, work_of
from softjet.part.inference import InferenceModel
from softjet.part.lanes import side_by_side
from softjet.part.model import ParticleTransformer
from softjet.part.prediction import JetBatch
from softjet.part.speed_peer import answering_elsewhere, learning_elsewhere
from softjet.part.speed_weaver import (
    Inputs,
    as_it_comes,
    as_weaver_reads,
    inputs_of,
    learning,
    one_by_one,
    weaver_network,
)
from softjet.progress import Progress

THEIRS, TRAINING = "weaver-core", "training"

KEPT, AS_IT_COMES = "kept", "as it comes"
"""Memory of weaver-core: as this process has it, and with the C library's own settings."""

WARMUP = 2
"""Calls of each before the clock counts."""


class Agreement(NamedTuple):
    """How near probabilities are to those of the model itself, in float32."""

    same_class: float
    """Share of jets with the same most likely class."""
    largest: float
    """Largest difference of a probability."""
    n: int
    """Jets compared."""


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
        A row a way and a memory of weaver-core (KEPT, AS_IT_COMES): way, memory, jets, jets_per_second,
        their_jets_per_second (medians), then the columns of :func:`softjet.latency.summarise` with
        weaver-core as a, the work of a call (see :meth:`softjet.latency.work.Work.columns`), jet_flops,
        their_jet_flops (of a jet), and same_class, largest, compared.
    """
    jets = sum(len(batch.labels) for batch in batches)
    inputs = [inputs_of(batch) for batch in batches]
    ours = {name: make(model) for name, make in WAYS.items()}
    shuffled = as_weaver_reads(batches, model.config, size, seed)
    theirs = partial(one_by_one, weaver_network(model), [inputs_of(batch) for batch in shuffled])
    near = agreements(model, ours, compared)
    with torch.inference_mode():
        their_work = work_of(theirs)
    rows = []
    with answering_elsewhere(model, shuffled) as elsewhere:
        both: list[tuple[str, Call]] = [(KEPT, theirs), (AS_IT_COMES, elsewhere)]
        for name, way in ours.items():
            with torch.inference_mode():
                works = work_of(partial(one_by_one, way, inputs)), their_work
            answer = partial(_answer_side_by_side, way, inputs)
            for memory, call in both:
                table = measure_pair(call, answer, samples, WARMUP, names=(THEIRS, name), batch=size)
                row = rates_of(table, name, memory, jets, works, noise, seed)
                rows.append({**row, **near[name]._asdict()})
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
        As of :func:`measure_inference`, without the agreement; the work is a mean of the calls of the
        warm-up. On a processor weaver-core then trains in a process of its own as well, both from where ours
        has come to, over the same jets once more.
    losses : DataFrame
        way, call (from 0, warm-up included), loss (mean over the jets of the call).
    """
    torch.manual_seed(seed)
    model = ParticleTransformer(run.model).train().to(device)
    calls = [[moved(b, device) for b in islice(batches, steps)] for _ in range(samples + WARMUP)]
    jets = sum(len(batch.labels) for call in calls for batch in call) / len(calls)
    shuffled = [as_weaver_reads(call, run.model, size, seed) for call in calls]
    losses: dict[str, list[float]] = {THEIRS: [], TRAINING: []}
    with Progress(2 * len(calls), "time training beside weaver-core", "calls") as progress:
        theirs = weaver_network(model).train().to(device)
        learn_as_theirs = learning(theirs, as_it_comes(run.training), shuffled, losses[THEIRS], progress)
        learn = learning(model, run.training, calls, losses[TRAINING], progress)
        # The warm-up is counted, since a call trains and so cannot be made twice.
        works = work_of(learn, WARMUP), work_of(learn_as_theirs, WARMUP)
        names, kind = (THEIRS, TRAINING), torch.device(device).type
        table = measure_pair(learn_as_theirs, learn, samples, 0, names=names, device=kind, batch=size)
    found = [rates_of(table, TRAINING, KEPT, jets, works, noise, seed)]
    if kind == "cpu":
        with learning_elsewhere(model, run, shuffled) as elsewhere:
            again = learning(model, run.training, calls)
            table = measure_pair(elsewhere, again, samples, WARMUP, names=names, batch=size)
        found.append(rates_of(table, TRAINING, AS_IT_COMES, jets, works, noise, seed))
    rows = [(way, call, loss) for way, curve in losses.items() for call, loss in enumerate(curve)]
    return pd.DataFrame(found), pd.DataFrame(rows, columns=["way", "call", "loss"])


def rates_of(
    table: pd.DataFrame, way: str, memory: str, jets: float, works: tuple[Work, Work], noise: float, seed: int
) -> dict[str, Any]:
    """Row of a way: rates beside weaver-core's, the ratio, and the work of ours and of theirs."""
    found: dict[str, Any] = dict(summarise(table, (THEIRS, way), noise=noise, seed=seed).iloc[0])
    rates = {"jets_per_second": found["median_b"], "their_jets_per_second": found["median_a"]}
    per_second = {key: 1e9 * jets / nanoseconds for key, nanoseconds in rates.items()}
    ours, theirs = works
    a_jet = {"jet_flops": ours.total / jets, "their_jet_flops": theirs.total / jets}
    return {"way": way, "memory": memory, "jets": jets, **per_second, **found, **ours.columns(), **a_jet}


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


def _answer_side_by_side(network: Callable[..., Tensor], batches: Sequence[Inputs]) -> None:
    @torch.inference_mode()
    def answer(inputs: Inputs) -> None:
        network(*inputs)

    deque(side_by_side(answer, batches), maxlen=0)
