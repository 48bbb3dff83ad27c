"""What was found: one sentence a stage, at the head of the report."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from softjet.figures.chapters.shared import Sentences, Settings, first_row, records
from softjet.figures.growth import growth_sentence
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
    for folder, own in settings["compress"].items():
        row = first_row(results / "lowrank" / folder / "metrics.parquet")
        yield (
            f"With learned ranks {own['base']} keeps {percent(row.keep_total)} of its parameters; accuracy "
            f"changes by {with_interval(row.change, row.low, row.high)} (paired, {row.n} jets), the gain of "
            f"{_steps(results, folder)} more training steps included."
        )
        yield from map(_speed_finding, records(results / "latency" / f"{folder}-ratios.parquet"))


def _growth_finding(results: Path, run: str, own: Settings) -> Iterator[str]:
    """How attention grows, of a run that was trained here."""
    path = results / "statistics" / run / own["dataset"] / "growth.parquet"
    if path.exists():
        yield growth_sentence(pd.read_parquet(path), own["training"]["batch_size"])


def _steps(results: Path, folder: str) -> int:
    return len(pd.read_parquet(results / "lowrank" / folder / "history.parquet", columns=["step"]))


def _speed_finding(row: Mapping[str, Any]) -> str:
    jets = "jet" if row["batch"] == 1 else "jets"
    what = f"With {row['batch']} {jets} a call on {row['threads']} threads"
    if row["note"]:
        return f"{what} the machine was too noisy to say which model is faster ({row['note']})."
    ratio = with_interval(row["ratio"], row["low"], row["high"], digits=2)
    return f"{what} the compressed model runs {ratio} times as fast as the dense one."
