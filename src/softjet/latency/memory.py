"""Largest memory of a call, in a process of its own; for Linux."""

import json
import pkgutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Memory(NamedTuple):
    """Resident memory before a call and at most in it, MB, and the seconds it took."""

    before: float
    peak: float
    seconds: float


def measure_memory(function: str, arguments: Sequence, prepare: Sequence) -> Memory:
    """Call a function in a fresh process and watch its memory.

    Parameters
    ----------
    function : str
        "package.module:name".
    arguments : sequence
        What it is called with: numbers, strings and lists of them.
    prepare : sequence
        What it is called with before that, such as less data: what libraries take is not the call's own.
    """
    command = [sys.executable, "-m", __name__]
    described = json.dumps([function, list(arguments), list(prepare)])
    done = subprocess.run(command, input=described, capture_output=True, text=True, check=True)
    return Memory(*json.loads(done.stdout.splitlines()[-1]))


def _watch() -> Memory:
    name, arguments, prepare = json.load(sys.stdin)
    function = pkgutil.resolve_name(name)
    function(*prepare)
    # The peak that getrusage gives is inherited from the parent; this one can be set back.
    Path("/proc/self/clear_refs").write_text("5")
    before, start = _megabytes("VmRSS"), time.perf_counter()
    function(*arguments)
    return Memory(before, _megabytes("VmHWM"), time.perf_counter() - start)


def _megabytes(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


if __name__ == "__main__":
    print(json.dumps(_watch()))
