"""Figures of attention: how binary, which heads, one jet's maps, pairs on the eta-phi plane."""

import pandas as pd
import pyarrow.parquet as pq

from softjet.figures.attention import (
    draw_choices,
    draw_heads,
    draw_maps,
    draw_multiplicity,
    draw_pairs,
    draw_parts,
    draw_shares,
    draw_weights,
)
from softjet.jets.schema import table_facts
from softjet.provenance.job import job, tables_drawn

PAIRS = ("QCD", "Hbb", "Tbqq", "Hqql")
HEATED = "Hbb"
DRAWN_FROM = {
    "shares": ("binary",),
    "heads": ("binary",),
    "choices": ("binary",),
    "multiplicity": ("binary",),
    "parts": ("parts",),
    "weights": ("weights",),
    "maps": ("maps",),
    "pairs": ("maps", "particles"),
}
"""Tables that each figure draws; they are noted in the figures' sidecars."""

with job(snakemake) as step:
    step.notes["drawn_from"] = tables_drawn(snakemake.input, DRAWN_FROM)
    tables = {name: pd.read_parquet(path) for name, path in snakemake.input.items()}
    classes = table_facts(pq.read_schema(snakemake.input.maps)).classes
    first = tables["maps"].groupby("label").jet.min()
    of_class = {name: int(first[label]) for label, name in enumerate(classes) if label in first}
    shown = PAIRS if set(PAIRS) <= set(classes) else classes[: len(PAIRS)]
    jets = [of_class[name] for name in shown if name in of_class] or [int(first.iloc[0])]
    out = snakemake.output
    draw_shares(tables["binary"], out.shares_png)
    draw_heads(tables["binary"], out.heads_png, float(tables["binary"].threshold.min()))
    draw_choices(tables["binary"], out.choices_png)
    draw_multiplicity(tables["binary"], out.multiplicity_png)
    draw_parts(tables["parts"], out.parts_png)
    draw_maps(tables["maps"], of_class.get(HEATED, jets[0]), out.maps_png, classes=classes)
    draw_pairs(tables["maps"], tables["particles"], jets, out.pairs_png, classes=classes)
    draw_weights(tables["weights"], out.weights_png)
