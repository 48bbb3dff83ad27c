"""Last chapter: how the report was made, by commit, machine, steps, versions and configuration."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import yaml

from softjet.figures.chapters.shared import Settings
from softjet.figures.report import Part, Table, Text
from softjet.provenance.sidecar import SUFFIX, git_state


def provenance_parts(results: Path, settings: Settings) -> Iterator[Part]:
    """Commit, machine, steps with their times, versions and configuration."""
    sidecars = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(results.rglob(f"*{SUFFIX}"))]
    steps = pd.DataFrame([{**s, "commit": commit_name(s["commit"])} for s in sidecars])
    steps = steps.drop_duplicates(["rule", "started", "wall_seconds"]).sort_values("started")
    shown = steps[["rule", "started", "wall_seconds", "threads", "commit"]]
    last = sidecars[-1]
    machines = {f"{s['host']['processor']}, {s['host']['cores']} cores" for s in sidecars}
    yield Text(f"Machine: {'; '.join(sorted(machines))}. Commit of this report: {commit_name(git_state())}.")
    yield Text(
        "Every file in results/ has a sidecar (.meta.json) with its digest, its inputs' digests, "
        "parameters, versions "
        "and machine."
    )
    yield Table(
        shown.rename(columns={"wall_seconds": "seconds", "started": "started (UTC)"}), "Steps", folded=True
    )
    versions = pd.DataFrame({"package": last["versions"].keys(), "version": last["versions"].values()})
    yield Table(versions, "Versions", folded=True)
    text = yaml.safe_dump(json.loads(json.dumps(settings)), sort_keys=False).splitlines()
    yield Table(
        pd.DataFrame({"configuration": [line.replace("  ", "\u2003") for line in text]}),
        "Configuration",
        folded=True,
    )


def commit_name(state: Settings) -> str:
    """A commit, short, and whether the checkout had changes."""
    if not state["id"]:
        return "no git checkout"
    return state["id"][:12] + (" with uncommitted changes" if state["dirty"] else "")
