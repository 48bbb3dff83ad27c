"""Published results of the field's benchmarks, to stand beside our own."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import pandas as pd

from softjet.jets.schema import CLASSES

DATASETS = {CLASSES: "JetClass", ("QCD", "Top"): "Top landscape"}
"""Benchmark by the names of its classes."""

MODEL = "ParT"
"""The row that stands beside every result: the published model."""


def published_results(classes: Sequence[str]) -> pd.DataFrame:
    """Published results on the benchmark with these classes.

    Returns
    -------
    DataFrame
        dataset, model, metric, class (as in `softjet.part.evaluate.metrics_table`), value and source. Empty
        where the classes are no benchmark's.
    """
    with files("softjet.part").joinpath("literature.csv").open(encoding="utf-8") as stream:
        table = pd.read_csv(stream)
    return table[table["dataset"] == DATASETS.get(tuple(classes))].reset_index(drop=True)


def beside_published(metrics: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Add the published model's value to each row of a metrics table.

    Returns
    -------
    DataFrame
        `metrics` with the column published; NaN where no value is published, and for what is of all classes
        where a class has no jets.
    """
    table = published_results(classes)
    rows = table.loc[table["model"] == MODEL, ["metric", "class", "value"]]
    table = metrics.merge(rows.rename(columns={"value": "published"}), how="left", on=["metric", "class"])
    of_all = table["class"] == "all"
    absent = (table["metric"] == "accuracy") & ~of_all & (table["n"] == 0)
    return table.assign(published=table["published"].mask(of_all & bool(absent.any())))


def results_text(table: pd.DataFrame) -> str:
    """A table of `beside_published` as text, a line a metric: value [interval], survivors, published."""
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    shown = [
        {
            "metric": r["metric"],
            "class": r["class"],
            "value [95 %]": r["note"] or f"{r['value']:.4g} [{r['low']:.4g}, {r['high']:.4g}]",
            "background jets that pass": "" if pd.isna(r["survivors"]) else f"{r['survivors']} of {r['n']}",
            f"published {MODEL}": "" if pd.isna(r["published"]) else f"{r['published']:g}",
        }
        for r in rows
    ]
    return pd.DataFrame(shown).to_string(index=False)
