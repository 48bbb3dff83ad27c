"""Chapter on language models: what each reaches on its task before anything is made smaller."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from softjet.figures.chapters.shared import Settings, metric_name, records
from softjet.figures.report import Finding, Part, Table, with_interval

HEADING = "Language models"

_CAPTION = (
    "Language models, dense, each on its task: value with a 95 % bootstrap interval over examples, or over "
    "windows of text, and how many these are. Perplexity is by token, and the lower the better: models that "
    "cut text into other tokens are not to be compared by it."
)

_VALUES = {"accuracy": "an accuracy", "f1": "an F1 score", "matthews": "a Matthews correlation"}
"""Metrics as the object of a sentence."""


def language_parts(results: Path, settings: Settings) -> Iterator[Part]:
    """One table over all language models.

    Parameters
    ----------
    results : path
        Folder of the workflow's results: language/{model}/metrics.parquet.
    settings : mapping
        Sections `language` and `tasks` of the configuration.
    """
    rows = [
        {
            "model": _named(model, settings),
            "family": settings["language"][model]["family"],
            "task": _task(model, settings),
            "metric": metric_name(row["metric"]),
            "value [95 %]": _value(row),
            "n": row["n"],
            "remark": row["note"],
        }
        for model in settings["language"]
        for row in _metrics(results, model)
    ]
    yield Table(pd.DataFrame(rows), _CAPTION)


def language_findings(results: Path, settings: Settings) -> Iterator[Finding]:
    """What language models reach that are not made smaller: of the others that is told beside it.

    Parameters
    ----------
    results, settings
        As of `language_parts`, with the section `compress`.
    """
    bases = {own["base"] for own in settings["compress"].values()}
    for model in settings["language"]:
        if model not in bases:
            rows = _metrics(results, model)
            reached = " and ".join(map(_reached, rows))
            where = f"on {_task(model, settings)}, n = {rows[0]['n']:,}"
            text = f"{_named(model, settings)} reaches {reached} {where}."
            yield Finding(f"Language model: {model}", text, HEADING)


def _metrics(results: Path, model: str) -> list[dict[str, Any]]:
    return records(results / "language" / model / "metrics.parquet")


def _named(model: str, settings: Settings) -> str:
    """A model with what is to be said beside its numbers."""
    note = settings["language"][model]["note"]
    return f"{model} ({note})" if note else model


def _task(model: str, settings: Settings) -> str:
    """A task by its name in the configuration, and by what it is where that is another."""
    task = settings["language"][model]["task"]
    kind = settings["tasks"][task]["name"]
    return task if task == kind else f"{task} ({kind})"


def _value(row: Mapping[str, Any]) -> str:
    digits = 1 if row["metric"] == "perplexity" else 3
    return with_interval(row["value"], row["low"], row["high"], digits=digits)


def _reached(row: Mapping[str, Any]) -> str:
    name = _VALUES.get(row["metric"], f"a {row['metric']}")
    return f"{name} that cannot be measured" if math.isnan(row["value"]) else f"{name} of {_value(row)}"
