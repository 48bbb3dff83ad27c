"""What several chapters of the report share: rows of tables and names of metrics."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from softjet.figures.report import with_interval

Settings = Mapping[str, Any]
Sentences = Mapping[str, Sequence[str]]


def shown_run(own: Settings) -> tuple[str, float]:
    """Method and keep ratio of the run of a compressed model that is shown: soft-threshold-0.5-1."""
    method, keep, _seed = own["shown"].rsplit("-", 2)
    return method, float(keep)


def records(path: Path) -> list[dict[str, Any]]:
    """Rows of a Parquet file."""
    return pd.read_parquet(path).to_dict("records")  # type: ignore[return-value]


def first_row(path: Path) -> pd.Series:
    """The first row of a table of metrics, which is the accuracy over all classes."""
    return next(row for _, row in pd.read_parquet(path).iterrows())


def metric_name(name: str) -> str:
    """A metric as the report names it: `rejection_50` is the rejection at 50 %."""
    kind, _, point = name.partition("_")
    if kind == "rejection":
        return f"rejection at {point} %"
    return {"auc": "AUC, macro one-versus-one"}.get(name, name)


def change_rows(metrics: pd.DataFrame, models: Mapping[str, str]) -> pd.DataFrame:
    """Rows of two models' metrics; `models` maps the columns of the two to the names they are shown by."""
    rows = [
        {
            "metric": metric_name(row.metric),
            "class": row["class"],
            **{name: "" if row.note else f"{row[column]:.3f}" for column, name in models.items()},
            "change [95 % interval]": row.note or with_interval(row.change, row.low, row.high),
        }
        for _, row in metrics.iterrows()
    ]
    return pd.DataFrame(rows)
