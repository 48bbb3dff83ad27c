"""Figures of interventions on attention and of top-k attention."""

import pandas as pd

from softjet.figures.interventions import draw_interventions, draw_silenced, draw_topk
from softjet.provenance.job import job

with job(snakemake):
    table = pd.read_parquet(snakemake.input.interventions)
    draw_interventions(table, snakemake.output.interventions_png)
    draw_silenced(table, snakemake.output.silenced_png)
    draw_topk(pd.read_parquet(snakemake.input.topk), snakemake.output.topk_png)
