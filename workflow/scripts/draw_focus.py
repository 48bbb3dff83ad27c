"""Figures of what attention focuses on, whom it chooses and why, and where on the plane it goes."""

import pandas as pd

from softjet.figures.focus import (
    draw_attribution,
    draw_focus,
    draw_focus_by_layer,
    draw_partners,
    draw_subjets,
)
from softjet.figures.planes import draw_distance, draw_planes, draw_planes_by_layer
from softjet.provenance.job import job, tables_drawn

DRAWN_FROM = {
    "focus": ("focus",),
    "focus_layers": ("focus",),
    "subjets": ("focus",),
    "partners": ("partners",),
    "attribution": ("partners",),
    "distance": ("distance",),
    "planes": ("planes",),
    "planes_layers": ("planes",),
}
"""Tables that each figure draws; they are noted in the figures' sidecars."""

with job(snakemake) as step:
    step.notes["drawn_from"] = tables_drawn(snakemake.input, DRAWN_FROM)
    tables = {name: pd.read_parquet(path) for name, path in snakemake.input.items()}
    out = snakemake.output
    draw_focus(tables["focus"], out.focus_png)
    draw_focus_by_layer(tables["focus"], out.focus_layers_png)
    draw_subjets(tables["focus"], out.subjets_png)
    draw_partners(tables["partners"], out.partners_png)
    draw_attribution(tables["partners"], out.attribution_png)
    draw_distance(tables["distance"], out.distance_png)
    draw_planes(tables["planes"], out.planes_png)
    draw_planes_by_layer(tables["planes"], out.planes_layers_png)
