"""Functions in C, compiled for this processor when they are first needed."""

import ctypes
import os
import shlex
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
        There is no compiler, it cannot compile this for the processor, or no library can be loaded from the
        folder for temporary files.
    """
    given = [f"-D{name}={value}" for name, value in sizes.items()] + ["-DBFLOAT16"] * bfloat16
    try:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "compiled.so"
            _compile([*FLAGS, *given, str(FOLDER / source), "-o", str(target), "-lm"], source)
            return ctypes.CDLL(str(target))  # mapped: the file may go
    except OSError as error:
        problem = f"cannot be made and loaded ({error}); name a folder of which programs may run by TMPDIR"
        raise InputError("compiled code", source, problem) from error


def _compile(arguments: Sequence[str], source: str) -> None:
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if not shutil.which(compiler[0]):
        problem = f"there is no {compiler[0]}; install one, or name it by CC"
        raise InputError("compiled code", "compiler", problem)
    command = [*compiler, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = [line.split("error:")[-1].strip() for line in done.stderr.splitlines() if "error:" in line]
        problem = f"{compiler[0]} cannot compile it ({(said or ['no error named'])[0]}); do without"
        raise InputError("compiled code", source, problem)
