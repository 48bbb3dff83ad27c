"""Chapter on pairs of runs, compared on the same test jets."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from softjet.figures.chapters.shared import Settings, change_rows
from softjet.figures.report import Heading, Part, Table

_COMPARED_CAPTION = (
    "Two models on the same test jets; the interval is that of the change, by paired bootstrap over jets. "
    "For rejections the change is the ratio; where either model lets fewer than 50 background jets pass, or "
    "fewer than ten signal jets lie below the cut, it is not measured."
)


def by_name(comparisons: Sequence[Settings]) -> dict[str, Settings]:
    """Pairs of runs by the heading they are told under."""
    return {f"{pair['other']} against {pair['reference']}": pair for pair in comparisons}


def comparison_parts(results: Path, name: str, pair: Settings) -> Iterator[Part]:
    """Two runs on the same test jets."""
    names = {"reference": pair["reference"], "other": pair["other"]}
    table = pd.read_parquet(results / "part" / names["other"] / f"against-{names['reference']}.parquet")
    yield Heading(name)
    yield Table(change_rows(table, names), _COMPARED_CAPTION)
