"""Figures of interventions on attention and of top-k attention."""

import pandas as pd

from softjet.figures.interventions import draw_interventions, draw_silenced, draw_topk
from softjet.provenance.job import job, tables_drawn

DRAWN_FROM = {
    "interventions": ("interventions",),
    "silenced": ("interventions",),
    "topk": ("topk",),
}
"""Tables that each figure draws; they are noted in the figures' sidecars."""

with job(snakemake) as step:
    step.notes["drawn_from"] = tables_drawn(snakemake.input, DRAWN_FROM)
    table = pd.read_parquet(snakemake.input.interventions)
    draw_interventions(table, snakemake.output.interventions_png)
    draw_silenced(table, snakemake.output.silenced_png)
    draw_topk(pd.read_parquet(snakemake.input.topk), snakemake.output.topk_png)
