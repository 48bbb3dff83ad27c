"""Functions in C, compiled for this processor when they are first needed."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from softjet.errors import InputError

FOLDER = Path(__file__).parent

# OpenMP's threads are PyTorch's own, where that came with the same library: others would wait for a core on
# which one of these looks for more work.
FLAGS = ("-O3", "-march=native", "-fno-strict-aliasing", "-fopenmp", "-shared", "-fPIC")


@cache
def compiled(source: str, bfloat16: bool, **sizes: int) -> ctypes.CDLL:
    """Compile a file of this folder, once a process and shape.

    Parameters
    ----------
    source : str
        Name of the file.
    bfloat16 : bool
        Products of bfloat16, not float32.
    **sizes : int
        Constants by the names that the file gives them.

    Raises
    ------
    InputError
        There is no compiler, or it cannot compile this for the processor.
    """
    given = [f"-D{name}={value}" for name, value in sizes.items()]
    given += ["-DBFLOAT16"] * bfloat16
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "compiled.so"
        _compile([*FLAGS, *given, str(FOLDER / source), "-o", str(target), "-lm"], source)
        return ctypes.CDLL(str(target))  # mapped: the file may go


def _compile(arguments: Sequence[str], source: str) -> None:
    compiler = os.environ.get("CC", "cc")
    if not shutil.which(compiler):
        raise InputError(
            "compiled code", "compiler", f"there is no {compiler}; install one, or name it by CC"
        )
    done = subprocess.run([compiler, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.split("error:")[-1].strip() for line in done.stderr.splitlines() if "error:" in line]
        problem = f"{compiler} cannot compile it ({(said or ['no error named'])[0]}); do without"
        raise InputError("compiled code", source, problem)
