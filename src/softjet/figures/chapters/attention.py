"""Chapter on attention: what it looks like, how binary it is, and how that grows along the training."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from softjet.figures.chapters.shared import Sentences, Settings
from softjet.figures.growth import growth_sentence
from softjet.figures.report import Heading, Part, Picture, Text
from softjet.provenance.sidecar import read_sidecar


def attention_parts(results: Path, run: str, settings: Settings, sentences: Sentences) -> Iterator[Part]:
    """What the attention of a run looks like and how binary it is."""
    dataset = settings["dataset"]
    figures = results / "figures" / run / dataset
    residual = read_sidecar(results / "attention" / run / dataset / "jets.parquet")["notes"][
        "largest_residual"
    ]
    yield Heading(f"Attention of {run} on test jets of {dataset}")
    yield Text(
        "Recorded for real particles only. On every batch the recorded weights were put back through "
        "values and "
        f"output projection and compared with the block's own output: {_residual(residual)}."
    )
    captions = {
        "shares": "How binary attention is: share of queries whose largest weight exceeds each threshold, "
        "by layer.",
        "heads": "Which heads are sharp: share of queries with one dominant weight, by layer and head.",
        "choices": "Whom the largest weight of a query is on, by layer.",
        "multiplicity": "How binary attention is, by the number of particles in the jet.",
        "parts": "QK against the pair bias U, by layer: how often each alone keeps the key of the largest "
        "weight, the mean largest weight it makes alone, and its share of the variance of the logits.",
        "weights": "All weights between real particles, against random logits and the untrained network.",
        "maps": "One jet, last layer: weights of each head, particles in order of pT.",
        "pairs": "Attention on the eta-phi plane: each line is a particle looking at another. Solid within "
        "a kT "
        "subjet, dotted between two.",
    }
    for name, caption in captions.items():
        yield from map(Text, sentences.get(name, ()))
        yield Picture(figures / f"{name}.png", caption)
        if name == "shares" and not settings.get("weights"):
            yield from growth_parts(results, run, settings)
    yield Text(
        f"Every layer and head of the jets kept whole can be looked at in explorer/{run}/{dataset}.html, "
        "beside this report: a page that needs no network."
    )


def _residual(value: float) -> str:
    return f"they differ by {value:.2g} at most" if value else "they are equal to the last bit"


def growth_parts(results: Path, run: str, settings: Settings) -> Iterator[Part]:
    """How binary attention grows along the training of a run."""
    dataset, batch_size = settings["dataset"], settings["training"]["batch_size"]
    start_from = settings.get("start_from", "")
    growth = pd.read_parquet(results / "statistics" / run / dataset / "growth.parquet")
    yield Text(growth_sentence(growth, batch_size, start_from))
    first = f"{start_from}, the network it started from," if start_from else "the untrained network"
    yield Picture(
        results / "figures" / run / dataset / "growth.png",
        f"Binary attention along the training: share of queries above each threshold, from {first} "
        "to the last step, beside random logits of the same spread.",
    )
