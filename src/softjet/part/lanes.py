"""Batches side by side, each on a core of its own."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

import torch

from softjet.jets.ahead import ahead

Given = TypeVar("Given")
Result = TypeVar("Result")


def side_by_side(
    call: Callable[[Given], Result], batches: Iterable[Given], device: torch.device | None = None
) -> Iterator[Result]:
    """Results of a function as `map` gives them, in order; on a processor a batch a thread.

    One operation on one batch of jets is too small to gain much from a second core, above all in bfloat16. As
    each batch is computed by one thread, its bits do not depend on how many there are.

    Parameters
    ----------
    call : callable
        Of a batch. Modes of PyTorch that hold for a thread alone (autocast, inference mode) are to be entered
        by it.
    batches : iterable
        Drawn from in the caller's thread.
    device : torch.device, optional
        Where `call` computes; a GPU is given one batch after the other.

    Yields
    ------
    Result
        What `call` raises is raised in its place.
    """
    threads = torch.get_num_threads()
    if threads == 1 or (device is not None and device.type != "cpu"):
        yield from map(call, batches)
        return
    yield from ahead(partial(_alone, call), batches, threads, depth=2 * threads)


def _alone(call: Callable[[Given], Result], batch: Given) -> Result:
    torch.set_num_threads(1)  # of this thread
    return call(batch)
