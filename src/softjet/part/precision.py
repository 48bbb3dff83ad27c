"""Whether bfloat16 pays on this processor."""

from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import torch

from softjet.errors import InputError

_FLAGS = {"avx512_bf16", "amx_bf16"}


@cache
def bfloat16_pays(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Tell whether the processor multiplies bfloat16 matrices in hardware; elsewhere bfloat16 is slower."""
    path = Path(cpuinfo)
    return path.exists() and not _FLAGS.isdisjoint(path.read_text().split())


def autocast(precision: str) -> AbstractContextManager:
    """Context in which matrices are multiplied in the chosen precision; float32 in, float32 parameters.

    Parameters
    ----------
    precision : "auto", "float32" or "bfloat16"
        `auto` is bfloat16 where `bfloat16_pays`.

    Raises
    ------
    InputError
        Another word.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise InputError("precision", precision, "is not known: give auto, float32 or bfloat16")
    wanted = precision == "bfloat16" or (precision == "auto" and bfloat16_pays())
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=wanted)
