"""Where a model is computed, in which precision, and whether to the bit."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from softjet.errors import InputError

_AMD = {"AuthenticAMD", "avx512_bf16"}


@cache
def bfloat16_pays(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Tell whether the processor multiplies bfloat16 matrices faster than float32.

    It does with AMX, or with AVX-512 BF16 on AMD. On Intel, where a hypervisor may hide AMX, AVX-512 BF16
    alone is half as fast as float32 (docs/performance.md); elsewhere bfloat16 is slower still.
    """
    path = Path(cpuinfo)
    if not path.exists():
        return False
    words = set(path.read_text().split())
    return "amx_bf16" in words or words >= _AMD


def autocast(precision: str, device: str = "cpu") -> AbstractContextManager:
    """Context in which matrices are multiplied in the chosen precision; float32 in, float32 parameters.

    Parameters
    ----------
    precision : "auto", "float32" or "bfloat16"
        `auto` is bfloat16 where the device multiplies bfloat16 matrices faster than float32.
    device : "cpu" or "cuda"
        Kind of device.

    Raises
    ------
    InputError
        Another word.
    """
    chosen = chosen_precision(precision, device)
    return torch.autocast(device, dtype=torch.bfloat16, enabled=chosen == "bfloat16")


def chosen_precision(precision: str, device: str = "cpu") -> str:
    """What a precision means on a device, "float32" or "bfloat16"; arguments and errors as of `autocast`."""
    if precision not in ("auto", "float32", "bfloat16"):
        raise InputError("precision", precision, "is not known: give auto, float32 or bfloat16")
    if precision == "auto":
        return "bfloat16" if _pays(device) else "float32"
    return precision


def _pays(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bfloat16_pays()


def device_of(wanted: str, place: int = 0) -> torch.device:
    """Device to compute on.

    Parameters
    ----------
    wanted : "auto", "cpu" or "cuda"
        `auto` is a GPU where there is one.
    place : int
        Which of the machine's GPUs.

    Raises
    ------
    InputError
        A GPU is asked for and there is none, or fewer than that.
    """
    gpus = torch.cuda.device_count()
    if wanted == "cpu" or (wanted == "auto" and gpus == 0):
        return torch.device("cpu")
    if place >= gpus:
        raise InputError("device", wanted, f"asks for GPU {place} and this machine has {gpus}: give cpu")
    return torch.device("cuda", place)


Model = TypeVar("Model", bound=nn.Module)


def to_device(model: Model, wanted: str) -> Model:
    """Move a model to the device that :func:`device_of` names, and return it."""
    nn.Module.to(model, device_of(wanted))
    return model


def device_of_model(model: nn.Module) -> torch.device:
    """Device that the weights are on."""
    return next(model.parameters()).device


def device_name(device: torch.device) -> str:
    """Make of a GPU, or cpu."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Context of the same bits on any number of cores; with `wanted` false nothing is changed.

    One thread, since sums depend on how they are shared out; an operation without a deterministic
    implementation raises RuntimeError. Settings are restored.
    """
    if not wanted:
        yield
        return
    threads, before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    # Without it cuBLAS refuses to be deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(before)
