"""What every step of the workflow needs around its one call: log, sidecars, one-line errors."""

import hashlib
import json
import logging
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
from softjet.provenance.sidecar import SUFFIX, write_sidecar

log = logging.getLogger("softjet")


class Rule(Protocol):
    """What a workflow manager hands to a script (Snakemake's `snakemake` object fits)."""

    rule: str
    input: Any
    output: Any
    params: Any
    log: Sequence[str]
    threads: int


@dataclass
class Job:
    """One step under way.

    Attributes
    ----------
    section : dict
        The step's own parameters.
    fingerprint : str
        Digest of parameters, code, environment and inputs; a saved state is only ever taken up by a
        job of the same fingerprint.
    notes : dict
        What the step found worth noting beside its artefacts; goes into their sidecars.
    """

    section: Mapping[str, Any]
    fingerprint: str
    notes: dict[str, Any] = field(default_factory=dict)


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
    fingerprint = hashlib.sha256(
        json.dumps([spec, sorted(inputs.values())], default=str).encode()
    ).hexdigest()
    step = Job(spec["section"], fingerprint)
    try:
        yield step
    except InputError as error:
        log.error("%s", error)
        sys.exit(1)
    facts = {
        "rule": rule.rule,
        "section": spec["section"],
        "code": spec["code"],
        "environment": spec["environment"],
        "inputs": inputs,
        "threads": rule.threads,
        "started": started.isoformat(timespec="seconds"),
        "wall_seconds": round(time.monotonic() - clock, 2),
        "notes": step.notes,
    }
    for artefact in rule.output:
        if not str(artefact).endswith(SUFFIX):
            write_sidecar(artefact, facts)


def _log_to(paths: Sequence[str]) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    # A terminal shows bars instead of the line a minute, so there only warnings are printed.
    handlers[0].setLevel(logging.WARNING if sys.stderr.isatty() else logging.INFO)
    if paths:
        Path(paths[0]).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(paths[0], mode="w"))
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, handlers=handlers)
