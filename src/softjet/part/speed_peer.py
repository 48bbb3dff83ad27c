"""weaver-core as it comes: in a process without the memory settings that this one may have."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from softjet.config.part import ParTModel, ParTRun
from softjet.jets.batch import Batch
from softjet.latency.pairs import Call
from softjet.latency.peer import Peer
from softjet.part.model import ParticleTransformer
from softjet.part.speed_weaver import as_it_comes, inputs_of, learning, one_by_one, weaver_network

Calls = Sequence[Sequence[Batch]]
"""Batches of each call."""

SETTINGS = "MALLOC_"
"""How the names of the C library's settings of memory begin."""

MODEL = "model."
FIELDS = [field.name for field in fields(Batch)]


@contextmanager
def answering_elsewhere(model: ParticleTransformer, batches: Sequence[Batch]) -> Iterator[Peer]:
    """A call that lets weaver-core answer batches with a model's weights, without such settings of memory."""
    with _elsewhere(answers, model, [batches], model.config.model_dump()) as peer:
        yield peer


@contextmanager
def learning_elsewhere(model: ParticleTransformer, run: ParTRun, calls: Calls) -> Iterator[Peer]:
    """A call that trains weaver-core on the next batches from a model's weights, without such settings."""
    with _elsewhere(learns, model, calls, run.model_dump(mode="json")) as peer:
        yield peer


def answers(file: str, threads: int, shape: Mapping[str, Any]) -> Call:
    """Prepare, in the other process, the call of `answering_elsewhere`.

    Parameters
    ----------
    file : str
        Weights and batches.
    threads : int
        Of PyTorch.
    shape : mapping
        The model's, a ParTModel.
    """
    torch.set_num_threads(threads)
    model, (batches,) = _read(Path(file), ParTModel.model_validate(shape))
    call = partial(one_by_one, weaver_network(model), [inputs_of(batch) for batch in batches])
    return torch.inference_mode()(call)


def learns(file: str, threads: int, run: Mapping[str, Any]) -> Call:
    """Prepare, in the other process, the call of `learning_elsewhere`.

    Parameters
    ----------
    file, threads
        As of `answers`.
    run : mapping
        A ParTRun.
    """
    torch.set_num_threads(threads)
    described = ParTRun.model_validate(run)
    model, calls = _read(Path(file), described.model)
    return learning(weaver_network(model).train(), as_it_comes(described.training), calls)


@contextmanager
def _elsewhere(
    prepare: Callable[..., Call], model: ParticleTransformer, calls: Calls, described: Mapping[str, Any]
) -> Iterator[Peer]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "jets.safetensors"
        _write(file, model, calls)
        arguments = str(file), torch.get_num_threads(), described
        with Peer(f"{prepare.__module__}:{prepare.__name__}", arguments, environment) as peer:
            yield peer


def _write(file: Path, model: ParticleTransformer, calls: Calls) -> None:
    tensors = {MODEL + name: tensor for name, tensor in model.state_dict().items()}
    for call, batches in enumerate(calls):
        for place, batch in enumerate(batches):
            for field in FIELDS:
                tensors[f"{call} {place} {field}"] = getattr(batch, field)
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, file)


def _read(file: Path, shape: ParTModel) -> tuple[ParticleTransformer, Calls]:
    model, state, calls = ParticleTransformer(shape), {}, defaultdict[int, dict](lambda: defaultdict(dict))
    for name, tensor in load_file(file).items():
        if name.startswith(MODEL):
            state[name.removeprefix(MODEL)] = tensor
        else:
            call, place, field = name.split()
            calls[int(call)][int(place)][field] = tensor
    model.load_state_dict(state)
    return model, [[Batch(**parts) for _, parts in sorted(calls[call].items())] for call in sorted(calls)]
