"""Chapter on traditional observables of jets: whether states and attention know them."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from softjet.figures.chapters.shared import Settings
from softjet.figures.observable_findings import correlation_findings, probe_findings
from softjet.figures.report import Heading, Part, Picture, Text


def observable_parts(results: Path, run: str, settings: Settings) -> Iterator[Part]:
    """Whether a run's states and attention know traditional observables of jets."""
    dataset = settings["dataset"]
    tables, figures = results / "statistics" / run / dataset, results / "figures" / run / dataset
    yield Heading(f"Does {run} know jet substructure?")
    yield Text(
        "Linear probes (ridge) are fitted on validation jets and tested on test jets. They read the mean "
        "state of a jet's particles after each layer, and the class token. Beside them stand the untrained "
        "network, simple inputs (mean and sum of each feature, multiplicity, jet pT), and the class alone."
    )
    yield from map(Text, probe_findings(pd.read_parquet(tables / "probes.parquet")))
    yield Picture(figures / "probes.png", "Linear probes of observables, by depth, over all jets.")
    yield Picture(figures / "probes_within.png", "The same within classes: class means are taken away.")
    yield from map(Text, correlation_findings(pd.read_parquet(tables / "correlations.parquet")))
    yield Picture(figures / "correlations.png", "Attention of each layer and observables, jet by jet.")
