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

import torch
from torch import Tensor

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


def check_tensor(
    where: str, name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...] | None = None
) -> None:
    """Refuse what is of another type or shape, or not the processor's: compiled code cannot see it.

    Parameters
    ----------
    where, name : str
        What is compiled, and what the tensor is there: the field of the error.
    tensor : Tensor
        To be read by its address.
    dtype : torch.dtype
        That it must have.
    shape : tuple of int, optional
        That it must have; any without.

    Raises
    ------
    InputError
        It is not so.
    """
    if tensor.dtype != dtype or tensor.device.type != "cpu" or (shape is not None and tensor.shape != shape):
        wanted, given = (str(kind).removeprefix("torch.") for kind in (dtype, tensor.dtype))
        sizes = ("", "") if shape is None else (f" {shape}", f" {tuple(tensor.shape)}")
        problem = f"give {wanted}{sizes[0]} on the processor, not {given}{sizes[1]} on {tensor.device}"
        raise InputError(where, name, problem)


def check_memory(failed: int, what: str) -> None:
    """Raise MemoryError where so many threads of a compiled function had none for what it does."""
    if failed:
        raise MemoryError(what)
