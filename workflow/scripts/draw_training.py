"""Training history, confusion matrix and ROC curves of a Particle Transformer."""

import pandas as pd
import pyarrow.parquet as pq

from softjet.figures.training import draw_confusion, draw_history, draw_roc
from softjet.provenance.job import job

with job(snakemake) as step:
    jets = sum(pq.read_metadata(path).num_rows for path in snakemake.input.validation)
    history = pd.read_parquet(snakemake.input.history)
    draw_history(history, snakemake.output.history_png, step.section["batch_size"], jets)
    draw_confusion(pd.read_parquet(snakemake.input.confusion), snakemake.output.confusion_png)
    draw_roc(pd.read_parquet(snakemake.input.roc), snakemake.output.roc_png)
