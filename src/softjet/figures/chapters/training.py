"""Chapter on training: how each Particle Transformer was made, and what it gets right."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from softjet.figures.chapters.shared import Settings, metric_name, records
from softjet.figures.report import Heading, Part, Picture, Table, Text, percent, with_interval
from softjet.provenance.sidecar import read_sidecar

_METRICS_CAPTION = (
    "Test metrics with 95 % intervals. Accuracy is that of equally many jets of each class. Rejection is "
    "1 / (share of background jets that pass) at the signal efficiency of the paper's table; with fewer than "
    "50 surviving jets, or fewer than ten signal jets below the cut, it is not measured. Published: the "
    "full-size model of arXiv 2202.03772, on the benchmark's own test jets after its full training."
)


SHORT = 20_000_000
"""Jets; the shortest of the published trainings, on the top landscape, saw 24 million."""


def training_parts(results: Path, run: str, settings: Settings) -> Iterator[Part]:
    """Training and test metrics of a Particle Transformer."""
    folder, figures = results / "part" / run, results / "figures" / run
    metrics = pd.read_parquet(folder / "metrics.parquet")
    yield Heading(f"Particle Transformer {run}")
    yield Text(f"{_size(folder)} {_origin_of_weights(folder, settings)}")
    if not settings.get("weights"):
        yield Picture(figures / "history.png", "Loss and validation accuracy along the training.")
    yield Table(_metrics_rows(metrics), _METRICS_CAPTION)
    yield Picture(figures / "confusion.png", "Confusion matrix on test jets, percent of each true class.")
    yield Picture(
        figures / "roc.png",
        "Rejection of background jets against signal efficiency. Dotted where fewer than 50 of them survive "
        "or fewer than ten signal jets do not, which is too few to quote a number.",
    )
    yield Text(_pair_forms(folder / "pair_forms.parquet"))


def _size(folder: Path) -> str:
    shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return (
        f"{shape['blocks']} particle and {shape['class_blocks']} class attention blocks, "
        f"{shape['embed_dims'][-1]} "
        f"wide, {shape['heads']} heads, {shape['n_features']} features a particle."
    )


def _origin_of_weights(folder: Path, settings: Settings) -> str:
    if settings.get("weights"):
        notes = read_sidecar(folder / "model.safetensors")["notes"]
        return f"Its weights are imported, not trained here: {notes['source']}, SHA-256 {notes['sha256']}."
    history = pd.read_parquet(folder / "history.parquet")
    batch = settings["training"]["batch_size"]
    seen = len(history) * batch
    speed = f"at {history.jets_per_second.median():.0f} jets a second."
    if settings.get("start_from"):
        # How long the network was trained before is not known here, so neither is whether that was short.
        return (
            f"Fine-tuned from {settings['start_from']}: {len(history)} steps of about {batch} jets "
            f"(about {seen:,} jets seen) {speed}"
        )
    short = (
        " This is a short training: its numbers show that the chain works, not what the architecture can do."
        if seen < SHORT
        else ""
    )
    return (
        f"Trained for {len(history)} steps of about {batch} jets (about {seen:,} jets seen; the published "
        f"model saw 512 million on JetClass) {speed}{short}"
    )


def _pair_forms(path: Path) -> str:
    rows = {(row["form"], row["against"]): row for row in records(path)}
    swapped = rows["stable, float32", "published, float32"]
    published, stable = (rows[f"{form}, float32", "published, float64"] for form in ("published", "stable"))
    return (
        "The logarithm of the pair mass is rounding noise in float32 for close pairs and for a particle with "
        f"itself. On {swapped['n']} test jets its published form lies up to {published['largest']:.2g} from "
        f"float64 in a logit (median over jets {published['median']:.2g}), the stable form up to "
        f"{stable['largest']:.2g} (median {stable['median']:.2g}); changing one for the other changes "
        f"{percent(swapped['decisions'], 2)} of the decisions."
    )


def _metrics_rows(metrics: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "metric": metric_name(row.metric),
            "class": row["class"],
            "value [95 % interval]": _too_few(row.note) if row.note else _rounded(row),
            "jets": row.n,
            "of them pass": "" if pd.isna(row.survivors) else int(row.survivors),
            "published": "" if pd.isna(row.published) else f"{row.published:g}",
        }
        for _, row in metrics.iterrows()
    ]
    return pd.DataFrame(rows)


def _too_few(note: str) -> str:
    """A note without the counts, which have columns of their own."""
    reason, _, needed = note.partition("; ")
    return f"{reason.partition(' (')[0]}: {needed.rstrip(')')}" if needed else note


def _rounded(row: pd.Series) -> str:
    return with_interval(row.value, row.low, row.high, digits=1 if row.metric.startswith("rej") else 3)
