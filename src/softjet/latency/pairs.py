"""Interleaved time measurement, of pairs above all."""

import gc
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import pandas as pd
import torch

Call = Callable[[], object]
Item = TypeVar("Item")
Name = TypeVar("Name", bound=Hashable)

SETTING = ["runtime", "device", "batch", "length", "threads", "warmup"]
"""Columns that tell one measurement from another."""


def measure_pair(
    a: Call,
    b: Call,
    samples: int,
    warmup: int,
    *,
    names: tuple[str, str] = ("dense", "compressed"),
    runtime: str = "torch",
    device: str = "cpu",
    batch: int = 1,
    length: int = 0,
) -> pd.DataFrame:
    """Time two calls turn by turn in one process.

    Calls go a b, b a, a b, ...: what slows the machine for a while slows both members of a pair, and each is
    as often first as second. The garbage collector rests meanwhile.

    Parameters
    ----------
    a, b : callable
        Return only when their work is done (on a graphics card: when they have synchronised).
    samples : int
        Timed calls of each.
    warmup : int
        Calls of each before the clock counts.
    names : pair of str
        The variants' names.
    runtime, device : str
        What runs the model, and on what.
    batch, length : int
        Examples a call, and tokens or particles of the longest.

    Returns
    -------
    DataFrame
        A row a timed call: variant, runtime, device, batch, length, threads, warmup, order (0, 1, 2, ... as
        called; a pair is two neighbours), nanoseconds.
    """
    table = measure_turns(dict(zip(names, (a, b), strict=True)), samples, warmup)
    threads = torch.get_num_threads()
    table = table.assign(
        runtime=runtime, device=device, batch=batch, length=length, threads=threads, warmup=warmup
    )
    return table[["variant", *SETTING, "order", "nanoseconds"]]


def finished(call: Call, device: torch.device | str = "cpu") -> Call:
    """A call that returns only when a device has done what it was given; itself for a processor."""
    if torch.device(device).type == "cpu":
        return call

    def wait() -> None:
        call()
        torch.cuda.synchronize(device)

    return wait


def measure_turns(calls: Mapping[Name, Call], samples: int, warmup: int) -> pd.DataFrame:
    """Time any number of calls in turns: a b c, c b a, a b c, ...

    Parameters
    ----------
    calls : mapping of name to callable
        Return only when their work is done.
    samples : int
        Timed calls of each.
    warmup : int
        Calls of each before the clock counts.

    Returns
    -------
    DataFrame
        A row a timed call: variant, order (as called), nanoseconds.
    """
    with _no_garbage_collection(), torch.inference_mode():
        for _ in range(warmup):
            for call in calls.values():
                call()
        timed = [(name, _nanoseconds(calls[name])) for name in turns(list(calls), samples)]
    table = pd.DataFrame(timed, columns=["variant", "nanoseconds"])
    return table.assign(order=range(len(table)))[["variant", "order", "nanoseconds"]]


def turns(items: Sequence[Item], rounds: int) -> Iterator[Item]:
    """Items round by round, every second round in reverse: none is always first."""
    for place in range(rounds):
        yield from items[:: 1 if place % 2 == 0 else -1]


def _nanoseconds(call: Call) -> int:
    start = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - start


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
