"""Figure of the growth of binary attention."""

import pandas as pd

from softjet.figures.growth import draw_growth
from softjet.provenance.job import job

with job(snakemake) as step:
    draw_growth(
        pd.read_parquet(snakemake.input.growth), snakemake.output.growth_png, step.section["batch_size"]
    )
