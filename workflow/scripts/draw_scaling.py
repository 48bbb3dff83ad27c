"""Figure of how time and memory grow."""

import pandas as pd

from softjet.figures.scaling import draw_scaling
from softjet.provenance.job import job, tables_drawn

DRAWN_FROM = {"growth": ("growth",)}
"""Tables that each figure draws; they are noted in the figures' sidecars."""

with job(snakemake) as step:
    step.notes["drawn_from"] = tables_drawn(snakemake.input, DRAWN_FROM)
    draw_scaling(pd.read_parquet(snakemake.input.growth), snakemake.output.scaling_png)
