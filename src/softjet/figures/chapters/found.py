"""What was found: one sentence a stage, at the head of the report."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from softjet.figures.chapters.shared import Sentences, Settings, first_row, records, shown_run
from softjet.figures.compression_findings import change_words, made_words, metric_words
from softjet.figures.focus_findings import decay_findings, focus_findings
from softjet.figures.growth import growth_sentence
from softjet.figures.intervention_findings import intervention_findings
from softjet.figures.observable_findings import within_findings
from softjet.figures.report import percent, with_interval


def find_most_important(
    results: Path, settings: Settings, attention: Mapping[str, Sentences]
) -> Iterator[str]:
    """One sentence a stage, numbers with intervals."""
    for run in settings["part"]:
        path = results / "part" / run / "metrics.parquet"
        accuracy, metrics = first_row(path), pd.read_parquet(path, columns=["metric"])["metric"]
        classes = int((metrics == "accuracy").sum()) - 1  # the first is that over all
        yield (
            f"Particle Transformer ({run}) tells {classes} classes of jets apart with an accuracy of "
            f"{with_interval(accuracy.value, accuracy.low, accuracy.high)} on {accuracy.n} test jets "
            f"(guessing gives {1 / classes:.2f})."
        )
        yield attention[run]["shares"][-1]
        yield from _growth_finding(results, run, settings["part"][run])
        yield from _physics(results / "statistics" / run / settings["part"][run]["dataset"])
    for model, own in settings["compress"].items():
        yield from _size_findings(results, model, own)


def _size_findings(results: Path, model: str, own: Settings) -> Iterator[str]:
    """What the run that is shown costs and gains."""
    method, keep = shown_run(own)
    table = pd.read_parquet(results / "lowrank" / model / "comparison.parquet")
    chosen = (table["method"] == method) & (table["keep"] == keep) & (table["against"] == "dense")
    row = table[chosen].to_dict("records")[0]
    note = f" ({own['note']})" if own["note"] else ""
    change = f"{metric_words(row['metric'])} changes by {change_words(row)}"
    yield (
        f"{made_words(method)} {model}{note} keeps {percent(row['keep_total'])} of its parameters, "
        f"{percent(row['keep_blocks'])} of its blocks; {change} against the dense model trained as long "
        f"(paired, n = {row['n']:,}). {_speeds(results, model, own)}"
    )


def _physics(tables: Path) -> Iterator[str]:
    """First finding each of focus, of the decay, of interventions and of probes."""
    focus, interventions, probes = (
        pd.read_parquet(tables / f"{name}.parquet") for name in ("focus", "interventions", "probes")
    )
    found = (
        focus_findings(focus),
        decay_findings(focus),
        intervention_findings(interventions),
        within_findings(probes),
    )
    yield from (first for findings in found if (first := next(findings, "")))


def _growth_finding(results: Path, run: str, own: Settings) -> Iterator[str]:
    """How attention grows, of a run that was trained here."""
    if not own.get("weights"):
        path = results / "statistics" / run / own["dataset"] / "growth.parquet"
        yield growth_sentence(pd.read_parquet(path), own["training"]["batch_size"])


def _speeds(results: Path, model: str, own: Settings) -> str:
    """How fast the run that is shown is, in one sentence."""
    rows = records(results / "latency" / model / f"{own['shown']}-ratios.parquet")
    told = ", ".join(_speed(row) for row in rows)
    where = f"length {rows[0]['length']}, threads: {rows[0]['threads']}"
    return f"Its speed in units of the dense one's ({where}): {told}."


def _speed(row: Mapping[str, Any]) -> str:
    ratio = with_interval(row["ratio"], row["low"], row["high"], digits=2)
    return f"{'not told on so noisy a machine' if row['note'] else ratio} with a batch of {row['batch']}"
