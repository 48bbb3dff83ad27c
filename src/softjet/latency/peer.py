"""A call in a process of its own, so that it can be timed under other settings than the caller's."""

import gc
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

READY = "ready\n"


class Peer:
    """A call that another process makes, its garbage collector at rest; what it returns is not handed over.

    Parameters
    ----------
    function : str
        "package.module:name" of what makes the call: a function that prepares it and returns a callable.
    arguments : sequence
        What that function is called with: numbers, strings, lists and mappings of them.
    environment : mapping of str to str
        The process's whole environment.

    Raises
    ------
    RuntimeError
        The process has ended, here or at a call. It has said why on the standard error.
    """

    def __init__(self, function: str, arguments: Sequence, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", __name__]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self._ask(json.dumps([function, list(arguments)]))

    def __call__(self) -> None:
        """Make the call; returns when it is done."""
        self._ask("")

    def _ask(self, line: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(line, file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer != READY:
            raise RuntimeError(f"the process beside this one has ended with {self._process.wait()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


def _serve() -> None:
    # What libraries print would be taken for an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    name, arguments = json.loads(sys.stdin.readline())
    call = pkgutil.resolve_name(name)(*arguments)
    # As in the process that times it.
    gc.collect()
    gc.disable()
    print(end=READY, file=answers, flush=True)
    while sys.stdin.readline():
        call()
        print(end=READY, file=answers, flush=True)


if __name__ == "__main__":
    _serve()
