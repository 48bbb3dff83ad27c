"""Quality against size of a compressed model, by method."""

import pandas as pd

from softjet.figures.pareto import draw_pareto
from softjet.provenance.job import job

with job(snakemake) as step:
    table = pd.read_parquet(snakemake.input.comparison)
    size, title = step.section["size"], step.section["title"]
    draw_pareto(table, snakemake.output.pareto_png, table["metric"].iloc[0], size, title)
