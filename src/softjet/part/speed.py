"""How fast a network answers and trains, beside weaver-core with the same weights."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from softjet.config.part import ParTRun
from softjet.device import chosen_precision, device_of_model
from softjet.errors import InputError
from softjet.jets.batch import Batch
from softjet.latency.pairs import Call, measure_pair
from softjet.latency.peaks import with_limits
from softjet.latency.ratio import summarise
from softjet.latency.work import Work, work_of
from softjet.part.inference import InferenceModel
from softjet.part.lanes import side_by_side
from softjet.part.model import ParticleTransformer
from softjet.part.native import NativeModel
from softjet.part.prediction import JetBatch
from softjet.part.second_look import SecondLook
from softjet.part.speed_peer import Calls, answering_elsewhere, learning_elsewhere
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

log = logging.getLogger("softjet")

THEIRS, TRAINING = "weaver-core", "training"

KEPT, AS_IT_COMES = "kept", "as it comes"
"""Memory of weaver-core: as this process has it, and with the C library's own settings."""

WARMUP = 2
"""Calls of each before the clock counts."""

Network = Callable[..., Tensor]
"""From features, vectors and mask of a batch to logits."""


class Agreement(NamedTuple):
    """How near probabilities are to those of a reference."""

    same_class: float
    """Share of jets with the same most likely class."""
    largest: float
    """Largest difference of a probability."""
    compared: int
    """Jets."""

    def columns(self, prefix: str = "") -> dict[str, float]:
        """As columns of a table, their names after a prefix."""
        return {prefix + name: value for name, value in self._asdict().items()}


class Given(NamedTuple):
    """Jets of a call."""

    jets: float
    """Their number; of calls that differ the mean."""
    particles: float
    """Mean particles of a jet."""
    longest: int
    """Most particles of a jet."""

    @classmethod
    def of(cls, calls: Sequence[Sequence[JetBatch]]) -> "Given":
        """Jets of one or several calls."""
        masks = [batch.mask for call in calls for batch in call]
        jets, particles = sum(map(len, masks)), sum(int(mask.sum()) for mask in masks)
        return cls(jets / len(calls), particles / jets, max(int(mask.sum(-1).max()) for mask in masks))


def moved(batch: JetBatch, device: torch.device | str) -> Batch:
    """A batch on a device."""
    parts = *inputs_of(batch), batch.labels, batch.rows
    return Batch(*(tensor.to(device) for tensor in parts))


def measure_inference(
    model: ParticleTransformer,
    batches: Sequence[JetBatch],
    compared: Sequence[JetBatch],
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
    compared : sequence of JetBatch
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
        A row a way and a memory of weaver-core (KEPT, AS_IT_COMES): way, memory, jets, mean_particles,
        jets_per_second, their_jets_per_second (medians), then the columns of
        :func:`softjet.latency.summarise` with weaver-core as a, the work of a call (see
        :meth:`softjet.latency.work.Work.columns`), jet_flops, their_jet_flops (of a jet); agreement with the
        model itself in float32 (same_class, largest, compared) and with weaver-core (their_same_class,
        their_largest, their_compared).
    """
    given, inputs = Given.of([batches]), [inputs_of(batch) for batch in batches]
    ours = {name: make(model) for name, make in WAYS.items()} | _native(model)
    shuffled = as_weaver_reads(batches, model.config, size, seed)
    network = weaver_network(model)
    theirs = partial(one_by_one, network, [inputs_of(batch) for batch in shuffled])
    near, their_work = _nearness(model, network, ours, compared), _work(theirs)
    rows, progress = [], Progress(2 * len(ours), "time inference beside weaver-core", "ways")
    with answering_elsewhere(model, shuffled) as elsewhere, progress:
        both: list[tuple[str, Call]] = [(KEPT, theirs), (AS_IT_COMES, elsewhere)]
        for name, way in ours.items():
            works = _work(partial(one_by_one, way, inputs)), their_work
            answer = partial(_answer_side_by_side, way, inputs)
            for memory, call in both:
                table = measure_pair(
                    call, answer, samples, WARMUP, names=(THEIRS, name), batch=size, length=given.longest
                )
                row = rates_of(table, name, memory, given, works, noise, seed)
                rows.append({**row, **near[name]})
                progress.advance(note=f"{name}, {memory}: {row['ratio']:.2f} times as fast")
    return pd.DataFrame(rows)


@torch.inference_mode()
def _work(call: Call) -> Work:
    return work_of(call)


def _nearness(
    model: Network, theirs: Network, ours: Mapping[str, Network], compared: Sequence[JetBatch]
) -> dict[str, dict[str, float]]:
    """Agreement of each way with the model and with weaver-core, as columns."""
    both = agreements(model, ours, compared), agreements(theirs, ours, compared)
    return {name: {**both[0][name].columns(), **both[1][name].columns("their_")} for name in ours}


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
        As of :func:`measure_inference`, without the agreement, and precision (ours; weaver-core trains in
        float32); the work is a mean of the calls of the warm-up. On a processor weaver-core then trains in a
        process of its own as well, both from where ours has come to, over the same jets once more.
    losses : DataFrame
        way, call (from 0, warm-up included), loss (mean over the jets of the call).
    """
    torch.manual_seed(seed)
    model = ParticleTransformer(run.model).train().to(device)
    calls = [[moved(b, device) for b in islice(batches, steps)] for _ in range(samples + WARMUP)]
    given = Given.of(calls)
    shuffled = [as_weaver_reads(call, run.model, size, seed) for call in calls]
    losses: dict[str, list[float]] = {THEIRS: [], TRAINING: []}
    names, kind, longest = (THEIRS, TRAINING), torch.device(device).type, given.longest
    timed = partial(measure_pair, samples=samples, names=names, device=kind, batch=size, length=longest)
    table, works = _turns_here(model, run, calls, shuffled, losses, partial(timed, warmup=0))
    found = [rates_of(table, TRAINING, KEPT, given, works, noise, seed)]
    if kind == "cpu":
        table = _turns_as_it_comes(model, run, calls, shuffled, partial(timed, warmup=WARMUP))
        found.append(rates_of(table, TRAINING, AS_IT_COMES, given, works, noise, seed))
    rates = pd.DataFrame(found).assign(precision=chosen_precision(run.training.precision, kind))
    curves = pd.DataFrame(losses).rename_axis("call").reset_index()
    return rates, curves.melt("call", var_name="way", value_name="loss")[["way", "call", "loss"]]


def _turns_here(
    model: ParticleTransformer,
    run: ParTRun,
    calls: Calls,
    shuffled: Calls,
    losses: Mapping[str, list[float]],
    timed: Callable[[Call, Call], pd.DataFrame],
) -> tuple[pd.DataFrame, tuple[Work, Work]]:
    """Train in turns with weaver-core in this process, noting losses; the table of `timed`, and the work."""
    theirs = weaver_network(model).train().to(device_of_model(model))
    with Progress(2 * len(calls), "time training beside weaver-core", "calls") as progress:
        learn_as_theirs = learning(theirs, as_it_comes(run.training), shuffled, losses[THEIRS], progress)
        learn = learning(model, run.training, calls, losses[TRAINING], progress)
        # The warm-up is counted, since a call trains and so cannot be made twice.
        works = work_of(learn, WARMUP), work_of(learn_as_theirs, WARMUP)
        return timed(learn_as_theirs, learn).assign(warmup=WARMUP), works


def _turns_as_it_comes(
    model: ParticleTransformer,
    run: ParTRun,
    calls: Calls,
    shuffled: Calls,
    timed: Callable[[Call, Call], pd.DataFrame],
) -> pd.DataFrame:
    """Train on, in turns with weaver-core as it comes; the table of `timed`."""
    progress = Progress(len(calls), "time training beside weaver-core as it comes", "calls")
    with learning_elsewhere(model, run, shuffled) as elsewhere, progress:
        return timed(elsewhere, learning(model, run.training, calls, progress=progress))


def rates_of(
    table: pd.DataFrame,
    way: str,
    memory: str,
    given: Given,
    works: tuple[Work, Work],
    noise: float,
    seed: int,
) -> dict[str, Any]:
    """Row of a way: rates beside weaver-core's, the ratio, and the work of ours and of theirs."""
    found: dict[str, Any] = dict(summarise(table, (THEIRS, way), noise=noise, seed=seed).iloc[0])
    rates = {"jets_per_second": found["median_b"], "their_jets_per_second": found["median_a"]}
    per_second = {key: 1e9 * given.jets / nanoseconds for key, nanoseconds in rates.items()}
    ours, theirs = works
    a_jet = {"jet_flops": ours.total / given.jets, "their_jet_flops": theirs.total / given.jets}
    about = {"way": way, "memory": memory, "jets": given.jets, "mean_particles": given.particles}
    return {**about, **per_second, **found, **ours.columns(), **a_jet}


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


WAYS: Mapping[str, Callable[[ParticleTransformer], Network]] = {
    "model, float32": lambda model: model.eval(),
    "inference, float32": partial(InferenceModel, precision="float32"),
    "inference, bfloat16": partial(InferenceModel, precision="bfloat16"),
    "inference, bfloat16, close calls in float32": SecondLook,
}
"""Our ways to logits: the model as it is trained, and prepared for inference."""


NATIVE_WAYS: Mapping[str, Callable[[ParticleTransformer], Network]] = {
    "compiled blocks, float32": partial(NativeModel, precision="float32"),
    "compiled blocks, bfloat16": partial(NativeModel, precision="bfloat16"),
    "compiled blocks, bfloat16, close calls in float32": partial(SecondLook, prepared=NativeModel),
}
"""Further ways, where processor and compiler have what they need."""


def _native(model: ParticleTransformer) -> dict[str, Network]:
    """Those of NATIVE_WAYS that can be made here; of the others the log says why not."""
    found = {}
    for name, make in NATIVE_WAYS.items():
        try:
            found[name] = make(model)
        except InputError as error:
            log.info("%s: not measured: %s", name, error)
    return found


@torch.inference_mode()
def agreements(
    model: Network, others: Mapping[str, Network], batches: Iterable[JetBatch]
) -> dict[str, Agreement]:
    """Compare the probabilities of other ways with those of a model."""
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


def _answer_side_by_side(network: Network, batches: Sequence[Inputs]) -> None:
    @torch.inference_mode()
    def answer(inputs: Inputs) -> None:
        network(*inputs)

    deque(side_by_side(answer, batches), maxlen=0)
