"""One process at a time makes a result, also where a killed workflow left one of its jobs running."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)


@contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """Hold the lock of a folder, which is there only for that; wait while another process holds it.

    The system releases it when the process ends, however it ends. On a file system without such locks
    nothing is held.
    """
    folder = Path(folder)
    handle = _hold(folder)
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()
        os.close(handle)


def _hold(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        _lock(handle, folder)
        if _is_still(folder, handle):
            return handle
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    # An OSError of any other kind: locks are not known here.
    with suppress(OSError):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another process makes the same result; wait until it ends (lock: %s)", folder)
            fcntl.flock(handle, fcntl.LOCK_EX)


def _is_still(folder: Path, handle: int) -> bool:
    """Whether the folder is the one that was opened: who held it before has removed it at the end."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
