"""Watch over a call that is given hostile input: what it runs, writes, takes of memory and of time."""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MEMORY = 250_000_000
"""Most resident memory that a call may add, bytes."""

ADDRESSES = 3_000_000_000
"""Most address space that a call may add: what would take more fails instead of filling the machine."""

SECONDS = 20

_RUNNING = (
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn",
    "subprocess.Popen", "pickle.find_class", "marshal.loads", "socket.connect", "ctypes.dlopen",
    "webbrowser.open", "shutil.rmtree",
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_IMPORTS = ("marshal.loads", "ctypes.dlopen", "pickle.find_class")
"""What the import of a module, and the start of a compiled function, do too."""


@dataclass
class Seen:
    """What a watched call did."""

    allowed: Path
    ran: list[str] = field(default_factory=list)
    wrote: list[str] = field(default_factory=list)
    memory: int = 0


_watching: list[Seen] = []


def _note(event: str, arguments: tuple) -> None:
    if not _watching:
        return
    seen = _watching[-1]
    if event in _RUNNING and not (event in _IMPORTS and _importing()) and not _own(event, arguments, seen):
        seen.ran.append(f"{event} {arguments!r:.200}")
    elif event == "open" and isinstance(arguments[0], str | bytes) and arguments[2] & _WRITING:
        path = os.fsdecode(arguments[0])
        if not _within(path, seen.allowed) and "__pycache__" not in path and path != os.devnull:
            seen.wrote.append(path)


def _own(event: str, arguments: tuple, seen: Seen) -> bool:
    """Clearing of the call's own scratch folder."""
    return event == "shutil.rmtree" and _within(os.fsdecode(arguments[0]), seen.allowed)


def _within(path: str, folder: Path) -> bool:
    return os.path.realpath(path).startswith(f"{os.path.realpath(folder)}{os.sep}")


def _importing() -> bool:
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib") or f"{os.sep}numba{os.sep}" in name:
            return True
        frame = frame.f_back
    return False


sys.addaudithook(_note)


def files(folder: Path) -> set[Path]:
    """All that lies in a folder, but folders."""
    return {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


@contextlib.contextmanager
def watched(allowed: Path) -> Iterator[Seen]:
    """Note what is run or written outside `allowed`, with bounds on time and memory."""
    seen = Seen(allowed)
    _peak_from_here()
    before = _status("VmRSS")
    with _bounded_time(), _bounded_memory():
        _watching.append(seen)
        try:
            yield seen
        finally:
            _watching.pop()
            seen.memory = _status("VmHWM") - before


@contextlib.contextmanager
def _bounded_time() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"still at it after {SECONDS} s")

    former = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


@contextlib.contextmanager
def _bounded_memory() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + ADDRESSES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _peak_from_here() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024
