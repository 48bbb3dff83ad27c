"""Chapter on compression: ranks learned, parameters kept, and what it costs in quality."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from softjet.figures.chapters.shared import Settings, change_rows, first_row
from softjet.figures.report import Heading, Part, Picture, Table, Text, percent

_CHANGE_CAPTION = (
    "Dense against compressed on the same test jets; the interval is that of the change, by paired "
    "bootstrap over jets. "
    "For rejections the change is the ratio. The compressed model was trained longer than the dense one "
    "(learning and "
    "recovery), which can hide a loss: a dense reference with equal training is not part of this table."
)


def compression_parts(results: Path, folder: str, settings: Settings) -> Iterator[Part]:
    """Ranks learned, parameters kept, and what it costs in quality."""
    here, figures = results / "lowrank" / folder, results / "figures" / folder
    metrics, ranks, history = (
        pd.read_parquet(here / f"{name}.parquet") for name in ("metrics", "ranks", "history")
    )
    steps = history.groupby("phase", sort=False).size()
    yield Heading(f"{folder}, made from {settings['base']}")
    yield Text(
        f"Soft-threshold rank learning with a budget of {percent(settings['learning']['keep'], 0)} of "
        f"{settings['learning']['of']} parameters: "
        + ", ".join(f"{count} steps of {phase}" for phase, count in steps.items())
        + f". The mean rank of the {len(ranks)} matrices is {ranks['rank'].mean():.0f}, "
        f"{int(ranks.dense.sum())} of them stay dense."
    )
    yield Table(
        _kept_rows(first_row(here / "metrics.parquet")),
        "Parameters kept, after rounding. The wording '50 %' may mean each.",
    )
    yield Table(change_rows(metrics, {"dense": "dense", "compressed": "compressed"}), _CHANGE_CAPTION)
    captions = {
        "budget": "Parameters and loss along rank learning and recovery.",
        "ranks": "Rank that each matrix was given, relative to its full rank.",
        "spectra": "Singular values and the learned thresholds.",
    }
    yield from (Picture(figures / f"{name}.png", caption) for name, caption in captions.items())


def _kept_rows(row: pd.Series) -> pd.DataFrame:
    kept = {
        "compressed matrices": row.keep_linears,
        "all blocks": row.keep_blocks,
        "whole model": row.keep_total,
    }
    return pd.DataFrame({"of": kept.keys(), "kept": [percent(share, 2) for share in kept.values()]})
