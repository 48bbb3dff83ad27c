"""Figure of the growth of binary attention."""

import pandas as pd

from softjet.figures.growth import draw_growth
from softjet.provenance.job import job

DRAWN_FROM = {"growth": ("growth",)}
"""Tables that each figure draws; they are noted in the figures' sidecars."""

with job(snakemake) as step:
    step.notes["drawn_from"] = {
        name: [str(snakemake.input[table]) for table in own] for name, own in DRAWN_FROM.items()
    }
    draw_growth(
        pd.read_parquet(snakemake.input.growth), snakemake.output.growth_png, step.section["batch_size"]
    )
