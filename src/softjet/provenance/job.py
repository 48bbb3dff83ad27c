"""What every step of the workflow needs around its one call: log, sidecars, one-line errors."""

import hashlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from softjet.errors import InputError
from softjet.provenance.alone import alone
from softjet.provenance.failures import explained
from softjet.provenance.files import remove_partials, sha256
from softjet.provenance.sidecar import SUFFIX, device, read_sidecar, seeds, sidecar_path, write_sidecar

log = logging.getLogger("softjet")

DONE = "the step is done"
"""Last line of the log of a step that has succeeded."""


class Rule(Protocol):
    """What a workflow manager hands to a script (Snakemake's `snakemake` object fits)."""

    rule: str
    input: Any
    output: Any
    params: Any
    log: Sequence[str]
    threads: int
    config: Mapping[str, Any]


@dataclass
class Job:
    """One step under way.

    Attributes
    ----------
    section : dict
        The step's own parameters.
    state : Path
        Folder for what a killed step needs to go on. It is named by a digest of parameters, code,
        environment and inputs, so that only the very same step takes it up; success removes it.
    notes : dict
        What the step found worth noting beside its artefacts; goes into their sidecars.
    device : str
        Make of the device that the step computes on; to be said only by a step whose work is done in
        other processes.
    """

    section: Mapping[str, Any]
    state: Path
    notes: dict[str, Any] = field(default_factory=dict)
    device: str = ""


def tables_drawn(inputs: Any, drawn_from: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Paths of the tables that each figure draws, for the notes of the figures' sidecars.

    Parameters
    ----------
    inputs : mapping
        The rule's input files by name.
    drawn_from : mapping
        Names of a figure's inputs, by the figure's name.
    """
    return {figure: [str(inputs[name]) for name in names] for figure, names in drawn_from.items()}


@contextmanager
def job(rule: Rule) -> Iterator[Job]:
    """Run the body of a rule: log to its log file, note where its outputs come from.

    An :class:`InputError` ends the process with exit status 1 and its one line, and so do a full
    disk and memory at its end. Sidecars are written only after the body has succeeded. A process that
    makes the same files, left over from a killed workflow, is waited for; what a killed one left half
    written is removed.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    _log_to(rule.log)
    with _ending_in_one_line(), ExitStack() as held:
        spec = dict(rule.params.spec)
        held.enter_context(alone(_lock_folder(rule, Path(rule.output[0]).absolute())))
        inputs = {str(path): _checked(path) for path in rule.input}
        step = Job(spec["section"], _state_folder(rule, spec, inputs))
        held.enter_context(alone(_lock_folder(rule, step.state)))
        for artefact in rule.output:
            remove_partials(artefact)
        yield step
        shutil.rmtree(step.state, ignore_errors=True)
        _write_sidecars(rule, step, inputs, started, clock)
    log.info("%s", DONE)


def _write_sidecars(
    rule: Rule, step: Job, inputs: Mapping[str, str], started: datetime, clock: float
) -> None:
    spec = rule.params.spec
    artefacts = [str(path) for path in rule.output if not str(path).endswith(SUFFIX)]
    facts = {
        "rule": rule.rule,
        "section": step.section,
        "code": spec["code"],
        "environment": spec["environment"],
        "inputs": inputs,
        "outputs": artefacts,
        "seeds": seeds(step.section),
        "device": step.device or device(),
        "threads": rule.threads,
        "started": started.isoformat(timespec="seconds"),
        "wall_seconds": round(time.monotonic() - clock, 2),
        "notes": step.notes,
    }
    for artefact in artefacts:
        write_sidecar(artefact, facts)


@contextmanager
def _ending_in_one_line() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        log.error("%s", error)
        sys.exit(1)
    except Exception as error:
        said = explained(error)
        if said is None:
            log.error("%s: %s", type(error).__name__, " ".join(str(error).split()))
            raise
        log.error("%s", said)
        sys.exit(1)


def _checked(path: str | Path) -> str:
    """Digest of an input, which must be that of its sidecar if it has one."""
    digest = sha256(path)
    if sidecar_path(path).exists() and read_sidecar(path)["sha256"] != digest:
        raise InputError(path, "sha256", "changed after it was made; remove it and run again to make it anew")
    return digest


def _lock_folder(rule: Rule, made: Path) -> Path:
    name = hashlib.sha256(str(made).encode()).hexdigest()[:20]
    return Path(rule.config["paths"]["state"]) / "locks" / name


def _state_folder(rule: Rule, spec: Mapping[str, Any], inputs: Mapping[str, str]) -> Path:
    described = json.dumps([spec, sorted(inputs.values())], sort_keys=True, default=str)
    fingerprint = hashlib.sha256(described.encode()).hexdigest()
    return Path(rule.config["paths"]["state"]) / rule.rule / fingerprint[:20]


def _log_to(paths: Sequence[str]) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    # A terminal shows bars instead of the line a minute, so there only warnings are printed.
    handlers[0].setLevel(logging.WARNING if sys.stderr.isatty() else logging.INFO)
    if paths:
        Path(paths[0]).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(paths[0], mode="w"))
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, handlers=handlers)
