"""Largest memory of a call, in a process of its own; for Linux."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple


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
    # The peak that getrusage gives is inherited from the parent; this one can be set back.
    Path("/proc/self/clear_refs").write_text("5")
    before, start = _megabytes("VmRSS"), time.perf_counter()
    call()
    sending.send((before, _megabytes("VmHWM"), time.perf_counter() - start))


def _megabytes(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6
