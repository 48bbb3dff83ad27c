"""Largest memory of a call, in a process of its own."""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NamedTuple

_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes of ru_maxrss's unit."""


class Memory(NamedTuple):
    """Resident memory before a call and at most in it, MB, and the seconds it took."""

    before: float
    peak: float
    seconds: float


def measure_memory(call: Callable[[], object], prepare: Callable[[], object]) -> Memory:
    """Make a call in a fresh process and watch its memory.

    Parameters
    ----------
    call : callable
        What is measured; it must be importable by name, with its arguments (`functools.partial`).
    prepare : callable
        Made before the memory counts, such as the same call on little data: what imports and libraries
        take is not the call's own.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_watch, args=(call, prepare, sending))
    process.start()
    sending.close()
    try:
        return Memory(*receiving.recv())
    finally:
        process.join()


def _watch(call: Callable[[], object], prepare: Callable[[], object], sending: Connection) -> None:
    prepare()
    before, start = _peak(), time.perf_counter()
    call()
    sending.send((before, _peak(), time.perf_counter() - start))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT / 1e6
