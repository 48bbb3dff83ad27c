"""Figure of what attention and probes lose when Particle Transformer gets smaller."""

import pandas as pd

from softjet.figures.joined import draw_joined
from softjet.provenance.job import job

with job(snakemake):
    compressed, comparison = (pd.read_parquet(snakemake.input[name]) for name in ("compressed", "comparison"))
    draw_joined(compressed, comparison, snakemake.output.joined_png)
