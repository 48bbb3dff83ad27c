"""Figure of the growth of binary attention."""

import pandas as pd

from softjet.figures.growth import draw_growth
from softjet.provenance.job import job, tables_drawn

DRAWN_FROM = {"growth": ("growth",)}
"""Tables that each figure draws; they are noted in the figures' sidecars."""

with job(snakemake) as step:
    step.notes["drawn_from"] = tables_drawn(snakemake.input, DRAWN_FROM)
    draw_growth(pd.read_parquet(snakemake.input.growth), snakemake.output.growth_png, **step.section)
