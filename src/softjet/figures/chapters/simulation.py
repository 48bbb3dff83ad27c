"""Chapter on jets: where they come from, what they look like, simulated beside published ones."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from softjet.figures.chapters.shared import Settings, records
from softjet.figures.report import Heading, Part, Picture, Table, Text, with_interval
from softjet.jets.schema import CLASSES

_FORMAT_NAMES = {
    "jetclass": "JetClass",
    "top_landscape": "the top landscape",
    "quark_gluon": "the quark-gluon dataset",
    "parquet": "Parquet",
}

_COMPARISON_CAPTION = (
    "Simulated and published jets: mean multiplicity with 95 % bootstrap intervals over jets, and "
    "Kolmogorov-Smirnov "
    "distances of jet mass and constituent pT with p-values (those of pT by shuffling whole jets)."
)


def dataset_parts(results: Path, name: str, dataset: Settings) -> Iterator[Part]:
    """Jets of a dataset: counts by class and split, and their distributions."""
    counts = pd.read_parquet(results / "jets" / name / "counts.parquet")
    rejected = pd.read_parquet(results / "jets" / name / "rejected.parquet")
    yield Heading(f"Dataset {name}")
    yield Text(_origin(dataset) + f" {len(rejected)} jets were rejected in the conversion.")
    table = counts.pivot_table("jets", "class", "split", aggfunc="sum", fill_value=0)
    order = [split for split in ("train", "validation", "test", "rejected") if split in table]
    known = [name for name in CLASSES if name in table.index]
    table = table.loc[[*known, *sorted(set(table.index) - set(known))], order]
    table = pd.concat([table, table.sum().to_frame("all classes").T]).rename_axis("class").reset_index()
    yield Table(table, "Jets by class and split. Every jet read is in one split or listed as rejected.")
    yield Picture(results / "figures" / name / "jets.png", _shapes(set(counts["class"])))
    if dataset["reference"]:
        yield Table(_comparison_rows(results / "jets" / name / "comparison.parquet"), _COMPARISON_CAPTION)
        yield Picture(results / "figures" / name / "comparison.png", "Simulated and published jets.")


def _shapes(classes: Collection[str]) -> str:
    """What is seen in the distributions of these classes."""
    if set(CLASSES) <= set(classes):
        drawn, masses = "four classes", "the W, Higgs and top masses while QCD falls"
    elif "Top" in classes:
        drawn, masses = "each class", "the top mass where one jet holds all that the top quark decays to"
    else:
        return "Test jets by class. Low tau2/tau1 marks two prongs, low tau3/tau2 three."
    return (
        f"Test jets of {drawn}. Peaks of the soft-drop mass stand at {masses}; low tau2/tau1 marks two "
        "prongs, low tau3/tau2 three."
    )


def _comparison_rows(path: Path) -> pd.DataFrame:
    rows = [
        {
            "class": row["class"],
            "simulated jets": row["n_simulated"],
            "published jets": row["n_reference"],
            "particles, simulated": f"{row['simulated']:.1f}",
            "published": _interval(row, "reference", 1),
            "ratio": _interval(row, "ratio", 2),
            "KS mass (p)": f"{row['mass_ks']:.3f} ({row['mass_p']:.2f})" if row["class"] != "all" else None,
            "KS pT (p)": f"{row['pt_ks']:.3f} ({row['pt_p']:.2f})" if row["class"] != "all" else None,
        }
        for row in records(path)
    ]
    return pd.DataFrame(rows)


def _interval(row: Mapping[str, Any], name: str, digits: int) -> str:
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], digits=digits)


def _origin(dataset: Settings) -> str:
    if dataset["source"] != "simulation":
        files = dataset["files"] or [name for names in dataset["splits"].values() for name in names]
        return f"Jets read from files of {_FORMAT_NAMES[dataset['source']]}: {', '.join(files)}."
    simulation, further = dataset["simulation"], _further(dataset["further_test"])
    return (
        f"{simulation['jets_per_class']} jets of each of JetClass's ten classes, simulated here: Pythia 8 "
        "at 13 TeV, the response of the CMS detector from JetClass's published card, anti-kT jets with "
        f"R = 0.8, 500 < pT < 1000 GeV and |eta| < 2, matched to the decay.{further}"
    )


def _further(jets: Mapping[str, int]) -> str:
    shown = ", ".join(f"{number} {name}" for name, number in jets.items() if number)
    return f" Further jets of the test split, for the rejections: {shown}." if shown else ""
