"""Training history of a Particle Transformer."""

import pandas as pd
import pyarrow.parquet as pq

from softjet.figures.training import draw_history
from softjet.provenance.job import job

with job(snakemake) as step:
    jets = sum(pq.read_metadata(path).num_rows for path in snakemake.input.validation)
    history = pd.read_parquet(snakemake.input.history)
    draw_history(history, snakemake.output.history_png, step.section["batch_size"], jets)
