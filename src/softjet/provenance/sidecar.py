"""The sidecar beside every artefact: what it is, what it was made from, where and when."""

import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from softjet.provenance.files import sha256, whole_file

SUFFIX = ".meta.json"

PACKAGES = (
    "torch", "triton", "numpy", "numba", "pyarrow", "awkward", "uproot", "fastjet", "pythia8mc",
    "transformers", "weaver-core", "snakemake",
)  # fmt: skip
"""Packages whose versions stand in a sidecar; the lock's digest covers the rest."""

CPUINFO = Path("/proc/cpuinfo")

FLAGS = ("avx", "fma", "amx")
"""How the names of a processor's instructions for vectors and matrices begin."""


def sidecar_path(artefact: str | Path) -> Path:
    """Path of an artefact's sidecar."""
    return Path(f"{artefact}{SUFFIX}")


def write_sidecar(artefact: str | Path, facts: Mapping[str, Any]) -> None:
    """Write the sidecar of a finished artefact.

    Parameters
    ----------
    artefact : path
        The finished file, by the name that the rule gives it.
    facts : mapping
        What only the job knows: rule, parameters, inputs with digests, all its outputs, seeds, device,
        wall time, and what the step itself found worth noting.
    """
    record = {
        "artefact": str(artefact),
        "sha256": sha256(artefact),
        "bytes": Path(artefact).stat().st_size,
        **facts,
        "commit": git_state(),
        "versions": versions(),
        "host": host(),
    }
    with whole_file(sidecar_path(artefact)) as partial:
        partial.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")


def read_sidecar(artefact: str | Path) -> dict[str, Any]:
    """Read the sidecar of an artefact."""
    return json.loads(sidecar_path(artefact).read_text(encoding="utf-8"))


def seeds(section: Any, place: str = "") -> dict[str, int]:
    """Every seed in a step's parameters, by its place in them, as `training.seed`."""
    if not isinstance(section, Mapping):
        return {}
    own = {f"{place}seed": section["seed"]} if "seed" in section else {}
    return own | {k: v for name, inner in section.items() for k, v in seeds(inner, f"{place}{name}.").items()}


def device() -> str:
    """Make of the GPU that this process has computed on, or cpu."""
    # Not imported here: a step without models has no need of it, and has computed on no GPU.
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return "cpu"
    return torch.cuda.get_device_name()


@cache
def git_state() -> dict[str, Any]:
    """Commit of the code and whether the checkout differs from it; nulls outside git."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return {"id": commit, "dirty": bool(_git(here, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return {"id": None, "dirty": None}


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that make numbers, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@cache
def host() -> dict[str, Any]:
    """The machine: name, system, processor, what it computes with, cores and settings of memory here."""
    return {
        "name": socket.gethostname(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": next(iter(_cpuinfo("model name")), platform.processor()),
        "flags": _flags(),
        "cores": _cores(),
        "memory": {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")},
        "command": Path(sys.argv[0]).name,
    }


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _cpuinfo(field: str) -> list[str]:
    """What the system says of each processor under a name."""
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.exists() else []
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith(field)]


def _flags() -> list[str]:
    found = {flag for line in _cpuinfo("flags") for flag in line.split()}
    return sorted(flag for flag in found if flag.startswith(FLAGS))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
