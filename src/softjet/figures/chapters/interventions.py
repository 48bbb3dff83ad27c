"""Chapter on interventions: what becomes of a run's answer when its attention is changed."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from softjet.figures.chapters.shared import Settings
from softjet.figures.intervention_findings import intervention_findings, topk_findings
from softjet.figures.report import Heading, Part, Picture, Text
from softjet.provenance.sidecar import read_sidecar


def intervention_parts(results: Path, run: str, settings: Settings) -> Iterator[Part]:
    """What becomes of a run's answer when its attention is cut, replaced, or kept to its largest weights."""
    dataset = settings["dataset"]
    tables, figures = results / "statistics" / run / dataset, results / "figures" / run / dataset
    interventions, topk = (pd.read_parquet(tables / f"{name}.parquet") for name in ("interventions", "topk"))
    yield Heading(f"Does the attention of {run} matter?")
    yield Text(
        "On test jets the attention weights of the particle blocks are changed between softmax and values; "
        "what is cut away is given to a query's other keys in proportion. Each change stands beside its "
        "control, which takes the same weight from every query by random edges or, where another jet's "
        "weights are put in, puts in the jet's own in random order. Intervals hold 95 %, paired, over jets."
    )
    # The report's settings have nothing of interventions: the table's sidecar says what it was made with.
    subjets = read_sidecar(tables / "interventions.parquet")["section"]["subjets"]
    yield from map(Text, intervention_findings(interventions, subjets))
    yield Picture(
        figures / "interventions.png",
        "What cut and replaced attention changes, by layer, beside its control.",
    )
    yield Picture(figures / "silenced.png", "Single heads silenced, less random edges of the same weight.")
    yield Heading(f"Using it: top-k attention of {run}")
    yield from map(Text, topk_findings(topk))
    yield Picture(
        figures / "topk.png",
        "Attention to the k largest weights of a query: accuracy, rejections and time against all weights.",
    )
