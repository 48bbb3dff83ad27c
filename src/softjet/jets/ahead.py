"""Work done ahead of its use, in threads beside the caller's."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Event
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def ahead(
    call: Callable[[Argument], Result],
    arguments: Iterable[Argument],
    workers: int,
    depth: int,
    stop: Event | None = None,
) -> Generator[Result, None, None]:
    """Results of a function as `map` gives them, in order, but computed before they are asked for.

    Threads are enough where the function spends its time in Arrow, NumPy or PyTorch, which let others run.
    They end when the generator does, is closed or is forgotten.

    Parameters
    ----------
    call : callable
        Of one argument; with more than one worker it runs for several at once.
    arguments : iterable
        May be endless. It is drawn from in the caller's thread.
    workers : int
        Threads; 0 computes each result when it is asked for.
    depth : int
        Most results that wait or are computed.
    stop : Event, optional
        Set when the generator ends, so that a call that takes long can see that nobody waits for it.

    Yields
    ------
    Result
        What `call` raises is raised in its place.
    """
    if workers == 0:
        yield from map(call, arguments)
        return
    executor = ThreadPoolExecutor(workers, thread_name_prefix="softjet-ahead")
    try:
        waiting: deque[Future[Result]] = deque()
        arguments = iter(arguments)
        waiting.extend(executor.submit(call, argument) for argument in islice(arguments, depth))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(executor.submit(call, argument) for argument in islice(arguments, 1))
            yield result
    finally:
        if stop is not None:
            stop.set()
        executor.shutdown(cancel_futures=True)
