"""Chapter on focus: what attention goes to, whom the largest weight is on, how it falls with distance."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from softjet.figures.chapters.shared import Settings
from softjet.figures.focus import GROUPS, present
from softjet.figures.focus_findings import distance_findings, focus_findings, partner_findings
from softjet.figures.report import Heading, Part, Picture, Text


def focus_parts(results: Path, run: str, settings: Settings) -> Iterator[Part]:
    """What the attention of a run focuses on, for the report.

    Parameters
    ----------
    results : path
        Folder of the workflow's results.
    run : str
        Name of the run.
    settings : mapping
        Its section of the configuration; `dataset` is used.
    """
    folder, figures = (results / kind for kind in ("statistics", "figures"))
    names = ("focus", "partners", "distance", "planes")
    tables = {name: pd.read_parquet(folder / run / settings["dataset"] / f"{name}.parquet") for name in names}
    figures = figures / run / settings["dataset"]
    yield Heading(f"What {run} attends to: particles, subjets, partners")
    yield Text(
        "A particle's attention to itself is left out here. Nulls are exact expectations from the "
        "composition of each jet. Lines marked truth stand only where the simulation knows the decay."
    )
    yield from map(Text, focus_findings(tables["focus"]))
    yield Picture(figures / "focus.png", "Attention that kinds of particles receive, by class.")
    if present(tables["focus"], GROUPS):
        yield Picture(figures / "subjets.png", "Attention within kT subjets and prongs, by class.")
    yield Picture(figures / "focus_layers.png", "The same over its null, class by layer.")
    yield from map(Text, partner_findings(tables["partners"]))
    yield Picture(figures / "partners.png", "Whom the largest weight is on, by layer.")
    yield Picture(figures / "attribution.png", "What raises the logit of the winning key.")
    yield from map(Text, distance_findings(tables["distance"]))
    yield Picture(figures / "distance.png", "Attention over even attention against distance, by class.")
    yield Picture(
        figures / "planes.png",
        "From query to key on the plane, turned so that x points to the other subjet.",
    )
    yield Picture(
        figures / "planes_layers.png",
        "Trained over even attention, by class, in the first, the last and two layers between.",
    )
