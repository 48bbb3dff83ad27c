"""Chapter on time: the dense against the compressed model."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from softjet.figures.chapters.shared import Settings
from softjet.figures.latency import by_runtime
from softjet.figures.report import Heading, Part, Picture, Table, Text, with_interval


def speed_parts(results: Path, model: str, settings: Settings) -> Iterator[Part]:
    """Time of the dense against the compressed model, of the run that is shown."""
    run = settings["shown"]
    ratios = pd.read_parquet(results / "latency" / model / f"{run}-ratios.parquet")
    yield Heading(f"{model}, {run}, against {settings['base']}")
    yield Text(
        "Forward passes, dense and compressed in turn in one process, order alternating; the ratio is the "
        "median over "
        "pairs of dense time over compressed time, with a bootstrap interval over pairs. Above 1 the "
        "compressed "
        "model is faster."
    )
    yield Table(
        _speed_rows(ratios),
        "A row a batch: jets or windows of text a call, its length (particles of the longest jet, or "
        "tokens), pairs timed, multiply-accumulates of the linear layers (dense to compressed), median times "
        "and ratio. PyTorch computes the networks where nothing else is said.",
    )
    yield Picture(results / "figures" / model / run / "latency.png", "Every timed call, and the ratio.")


def _speed_rows(ratios: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "a call": f"{row.batch}{by_runtime(row)}",
            "length": row.length,
            "threads": row.threads,
            "pairs": row.pairs,
            "MACs a call [M]": f"{row.macs_a / 1e6:,.0f} to {row.macs_b / 1e6:,.0f}",
            "dense [ms]": f"{row.median_a / 1e6:.2f}",
            "compressed [ms]": f"{row.median_b / 1e6:.2f}",
            "ratio [95 %]": row.note or with_interval(row.ratio, row.low, row.high, digits=2),
        }
        for _, row in ratios.iterrows()
    ]
    return pd.DataFrame(rows)
