"""Chapter on time: the dense against the compressed model."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from softjet.figures.chapters.shared import Settings
from softjet.figures.report import Heading, Part, Picture, Table, Text, with_interval


def speed_parts(results: Path, folder: str, settings: Settings) -> Iterator[Part]:
    """Time of the dense against the compressed model."""
    ratios = pd.read_parquet(results / "latency" / f"{folder}-ratios.parquet")
    yield Heading(f"{folder} against {settings['base']}")
    yield Text(
        "Forward passes, dense and compressed in turn in one process, order alternating; the ratio is the "
        "median over "
        "pairs of dense time over compressed time, with a bootstrap interval over pairs. Above 1 the "
        "compressed "
        "model is faster."
    )
    yield Table(
        _speed_rows(ratios),
        "A row a batch: jets a call, particles of its longest jet, pairs timed, multiply-accumulates "
        "of the linear layers (dense to compressed), median times and their ratio.",
    )
    yield Picture(results / "figures" / folder / "latency.png", "Every timed call, and the ratio.")


def _speed_rows(ratios: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "jets": row.batch,
            "particles": row.length,
            "threads": row.threads,
            "pairs": row.pairs,
            "MACs a jet [M]": f"{row.macs_a / row.batch / 1e6:.1f} to {row.macs_b / row.batch / 1e6:.1f}",
            "dense [ms]": f"{row.median_a / 1e6:.2f}",
            "compressed [ms]": f"{row.median_b / 1e6:.2f}",
            "ratio [95 %]": row.note or with_interval(row.ratio, row.low, row.high, digits=2),
        }
        for _, row in ratios.iterrows()
    ]
    return pd.DataFrame(rows)
