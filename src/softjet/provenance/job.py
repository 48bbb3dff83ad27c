"""What every step of the workflow needs around its one call: log, sidecars, one-line errors."""

import hashlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from softjet.errors import InputError
from softjet.provenance.files import sha256
from softjet.provenance.sidecar import SUFFIX, device, seeds, write_sidecar

log = logging.getLogger("softjet")


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

    An :class:`InputError` ends the process with exit status 1 and its one line; nothing else is
    caught. Sidecars are written only after the body has succeeded.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    _log_to(rule.log)
    spec = dict(rule.params.spec)
    inputs = {str(path): sha256(path) for path in rule.input}
    step = Job(spec["section"], _state_folder(rule, spec, inputs))
    try:
        yield step
    except InputError as error:
        log.error("%s", error)
        sys.exit(1)
    shutil.rmtree(step.state, ignore_errors=True)
    artefacts = [str(path) for path in rule.output if not str(path).endswith(SUFFIX)]
    facts = {
        "rule": rule.rule,
        "section": spec["section"],
        "code": spec["code"],
        "environment": spec["environment"],
        "inputs": inputs,
        "outputs": artefacts,
        "seeds": seeds(spec["section"]),
        "device": step.device or device(),
        "threads": rule.threads,
        "started": started.isoformat(timespec="seconds"),
        "wall_seconds": round(time.monotonic() - clock, 2),
        "notes": step.notes,
    }
    for artefact in artefacts:
        write_sidecar(artefact, facts)


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
