"""Chapter on the headline: half of the parameters gone, family by family, beside what the paper claims."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from softjet.config.lowrank import LEARNED
from softjet.figures.chapters.shared import Settings, shown_run
from softjet.figures.headline import Family, headline_caption, headline_table
from softjet.figures.report import Part, Table


def headline_parts(results: Path, settings: Settings) -> Iterator[Part]:
    """One table over all compressed models.

    Parameters
    ----------
    results : path
        Folder of the workflow's results.
    settings : mapping
        Sections `compress` (with `shown` and `note`), `language` and `part` of the configuration.
    """
    found = [_family(results, model, settings) for model in settings["compress"]]
    families = [family for family in found if family]
    yield Table(headline_table(families), headline_caption(families))


def _family(results: Path, model: str, settings: Settings) -> Family | None:
    """What the table says of a model; nothing where no ranks were learned."""
    own = settings["compress"][model]
    method, keep = shown_run(own)
    if method not in LEARNED:
        return None
    comparison = pd.read_parquet(results / "lowrank" / model / "comparison.parquet")
    facts = {
        **_origin(own, settings),
        "method": method,
        "model": own["base"],
        "note": own["note"],
        "metric": comparison["metric"].iloc[0],
        "keep": keep,
    }
    ratios = pd.read_parquet(results / "latency" / model / f"{own['shown']}-ratios.parquet")
    return Family(facts, comparison, ratios)


def _origin(own: Settings, settings: Settings) -> Mapping[str, Any]:
    """Family and task of the model that a compressed one is made from."""
    if own["base"] in settings["part"]:
        return {"family": "part", "task": settings["part"][own["base"]]["dataset"]}
    language = settings["language"][own["base"]]
    return {"family": language["family"], "task": language["task"]}
