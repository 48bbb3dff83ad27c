"""What a large run would take, by the rates of a small one: jobs, hours of cores, disk."""

import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from softjet.provenance.sidecar import SUFFIX, read_sidecar


@dataclass(frozen=True)
class Measured:
    """What jobs of one kind have taken.

    Attributes
    ----------
    amount : float
        Units of work done: jets, or runs.
    core_seconds : float
        Wall time of each job times its threads, summed over the jobs, starting and reading included.
    size : int
        Bytes of what they have left.
    """

    amount: float
    core_seconds: float
    size: int


@dataclass(frozen=True)
class Step:
    """A step of the large run.

    Attributes
    ----------
    name : str
    unit : str
        What is counted.
    amount : float
        How much of it there is to do.
    jobs : int
    measured : Measured or None
        The same step in the small run; None where none was measured, and then no number is given.
    grows : bool
        Whether what the step leaves grows with the amount, as tables of jets do and a trained model does not.
    """

    name: str
    unit: str
    amount: float
    jobs: int
    measured: Measured | None
    grows: bool = True


def measured(paths: Iterable[str | Path], amount: float) -> Measured:
    """What jobs have taken, by the sidecars of what they left.

    Parameters
    ----------
    paths : iterable of paths
        All artefacts of the jobs, or their sidecars; an artefact may be gone, as a temporary one.
    amount : float
        Units of work that they did together.
    """
    records = [read_sidecar(str(path).removesuffix(SUFFIX)) for path in paths]
    # Artefacts of one job share its time.
    jobs = {json.dumps([r["rule"], r["section"], r["inputs"]]): r for r in records}
    seconds = sum(record["wall_seconds"] * record["threads"] for record in jobs.values())
    return Measured(amount, seconds, sum(record["bytes"] for record in records))


def plan(steps: Sequence[Step]) -> pd.DataFrame:
    """Table of steps: step, unit, amount, jobs, measured_amount, core_hours, gigabytes (1e9 bytes).

    Hours are in proportion to the amount, bytes where they grow with it; NaN where a step was not measured.
    """
    rows = []
    for step in steps:
        found = step.measured or Measured(0, float("nan"), 0)
        factor = step.amount / found.amount if step.measured else float("nan")
        hours = factor * found.core_seconds / 3600
        gigabytes = (factor if step.grows or not step.measured else 1) * found.size / 1e9
        rows.append((step.name, step.unit, step.amount, step.jobs, found.amount, hours, gigabytes))
    columns = ["step", "unit", "amount", "jobs", "measured_amount", "core_hours", "gigabytes"]
    return pd.DataFrame(rows, columns=columns)


def markdown(table: pd.DataFrame) -> str:
    """The table of :func:`plan` as Markdown, with a row of sums over what was measured."""
    head = "| step | amount | jobs | measured on | core hours | disk, GB |\n|---|---|---|---|---|---|\n"
    rows = table.to_dict("records")
    hours, size = (float(table[name].sum()) for name in ("core_hours", "gigabytes"))
    total = f"| all that was measured | | | | {_number(hours)} | {_number(size)} |\n"
    return head + "".join(_line(row) for row in rows) + total


def _line(row: Mapping[Hashable, Any]) -> str:
    amount, unit = row["measured_amount"], row["unit"]
    measured_on = f"{amount:,.0f} {unit}" if amount else "not measured"
    cells = [row["step"], f"{row['amount']:,.0f} {unit}", f"{row['jobs']:,}", measured_on]
    cells += [_number(row["core_hours"]), _number(row["gigabytes"])]
    return f"| {' | '.join(cells)} |\n"


def _number(value: float) -> str:
    if math.isnan(value):
        return "not measured"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
