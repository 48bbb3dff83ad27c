"""Chapter on the two papers joined: what becomes of attention when Particle Transformer gets smaller."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from softjet.figures.chapters.shared import Settings
from softjet.figures.joined_findings import joined_findings
from softjet.figures.report import Heading, Part, Picture, Text


def joined_parts(results: Path, model: str, _settings: Settings) -> Iterator[Part]:
    """Which physics goes first."""
    folder = results / "lowrank" / model
    tables = (pd.read_parquet(folder / f"{name}.parquet") for name in ("attention", "comparison"))
    yield Heading(model)
    yield from map(Text, joined_findings(*tables))
    yield Picture(
        results / "figures" / model / "joined.png",
        "Left: what is lost of each quantity, as a share of what the dense model has, a marker a keep ratio; "
        "intervals wider than the panel run out of it. Right: effective rank that each head keeps of its "
        "query, key, value and output.",
    )
