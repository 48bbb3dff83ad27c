"""What was found: one sentence a stage, at the head of the report."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from softjet.figures.chapters.language import language_findings
from softjet.figures.chapters.shared import Sentences, Settings, first_row, records, shown_run
from softjet.figures.compression_findings import change_words, made_words, metric_words
from softjet.figures.focus_findings import decay_findings, subjet_findings
from softjet.figures.growth import growth_sentence
from softjet.figures.intervention_findings import intervention_findings
from softjet.figures.latency import by_runtime
from softjet.figures.observable_findings import within_findings
from softjet.figures.report import Finding, percent, with_interval


def find_most_important(
    results: Path, settings: Settings, attention: Mapping[str, Sentences]
) -> Iterator[Finding]:
    """One sentence a stage, numbers with intervals."""
    for run, own in settings["part"].items():
        of_run = f" of {run}" if len(settings["part"]) > 1 else ""
        for finding in _run_findings(results, run, own, attention[run]):
            yield replace(finding, topic=finding.topic + of_run)
    yield from language_findings(results, settings)
    for model, own in settings["compress"].items():
        yield Finding(f"Fewer parameters: {model}", _size_finding(results, model, own), "Fewer parameters")


def _run_findings(results: Path, run: str, own: Settings, attention: Sentences) -> Iterator[Finding]:
    """What was found of a Particle Transformer."""
    yield Finding("Accuracy", _accuracy_finding(results, run), "Training")
    yield Finding("Binary attention", attention["shares"][-1], "Attention")
    yield from _growth_finding(results, run, own)
    yield from _physics(results / "statistics" / run / own["dataset"])


def _accuracy_finding(results: Path, run: str) -> str:
    path = results / "part" / run / "metrics.parquet"
    accuracy, metrics = first_row(path), pd.read_parquet(path, columns=["metric", "class", "n"])
    of_class = (metrics["metric"] == "accuracy") & (metrics["class"] != "all")
    known, seen = int(of_class.sum()), int((of_class & (metrics["n"] > 0)).sum())
    among = f"it chooses among {known}, of which the others have no test jets; " if seen < known else ""
    # Of one class there is nothing to be told apart.
    told = f"tells {seen} classes of jets apart" if seen > 1 else "recognises jets of 1 class"
    return (
        f"Particle Transformer ({run}) {told} with an accuracy of "
        f"{with_interval(accuracy.value, accuracy.low, accuracy.high)} on {accuracy.n} test jets "
        f"({among}guessing gives {1 / known:.2f})."
    )


def _growth_finding(results: Path, run: str, own: Settings) -> Iterator[Finding]:
    """How attention grows, of a run that was trained here."""
    if not own.get("weights"):
        path = results / "statistics" / run / own["dataset"] / "growth.parquet"
        start_from = own.get("start_from", "")
        grown = growth_sentence(pd.read_parquet(path), own["training"]["batch_size"], start_from)
        yield Finding("Attention along the training", grown, "Attention")


def _size_finding(results: Path, model: str, own: Settings) -> str:
    """What the run that is shown costs and gains."""
    method, keep = shown_run(own)
    table = pd.read_parquet(results / "lowrank" / model / "comparison.parquet")
    chosen = (table["method"] == method) & (table["keep"] == keep) & (table["against"] == "dense")
    row = table[chosen].to_dict("records")[0]
    note = f" ({own['note']})" if own["note"] else ""
    metric, measured = metric_words(row["metric"]), not math.isnan(row["change"])
    change = f"{metric} {'changes by ' + change_words(row) if measured else 'cannot be measured'}"
    return (
        f"{made_words(method)}, {model}{note} keeps {percent(row['keep_total'])} of its parameters, "
        f"{percent(row['keep_blocks'])} of its blocks; {change} against the dense model trained as long "
        f"(paired, n = {row['n']:,}). {_speeds(results, model, own)}"
    )


def _physics(tables: Path) -> Iterator[Finding]:
    """First finding each of focus, of the decay, of interventions and of probes."""
    focus, interventions, probes = (
        pd.read_parquet(tables / f"{name}.parquet") for name in ("focus", "interventions", "probes")
    )
    found = (
        ("Subjets", subjet_findings(focus), "Focus"),
        ("The decay", decay_findings(focus), "Focus"),
        ("The largest weights", intervention_findings(interventions), "Interventions"),
        ("Substructure", within_findings(probes), "Traditional observables"),
    )
    for topic, findings, heading in found:
        yield from (Finding(topic, first, heading) for first in islice(findings, 1) if first)


def _speeds(results: Path, model: str, own: Settings) -> str:
    """How fast the run that is shown is, in one sentence."""
    rows = records(results / "latency" / model / f"{own['shown']}-ratios.parquet")
    told = ", ".join(_speed(row) for row in rows)
    return f"Its speed in units of the dense one's (threads: {rows[0]['threads']}): {told}."


def _speed(row: Mapping[str, Any]) -> str:
    ratio = with_interval(row["ratio"], row["low"], row["high"], digits=2)
    told = "not told on so noisy a machine" if row["note"] else ratio
    return f"{told} with a batch of {row['batch']}{by_runtime(row)} (length {row['length']})"
