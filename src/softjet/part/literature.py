"""Published results of the field's benchmarks, to stand beside our own."""

from collections.abc import Sequence
from importlib.resources import files

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
        `metrics` with the column published; NaN where no value is published.
    """
    table = published_results(classes)
    rows = table.loc[table["model"] == MODEL, ["metric", "class", "value"]]
    return metrics.merge(rows.rename(columns={"value": "published"}), how="left", on=["metric", "class"])


def results_text(table: pd.DataFrame) -> str:
    """A table of `beside_published` as text, a line a metric: value [interval], survivors, published."""
    values = [row.note or f"{row.value:.4g} [{row.low:.4g}, {row.high:.4g}]" for row in table.itertuples()]
    counts = ["" if pd.isna(row.survivors) else f"{row.survivors} of {row.n}" for row in table.itertuples()]
    published = ["" if pd.isna(value) else f"{value:g}" for value in table["published"]]
    columns = {"value [95 %]": values, "background jets that pass": counts, f"published {MODEL}": published}
    return table[["metric", "class"]].assign(**columns).to_string(index=False)
