"""Confusion matrix and ROC curves of a Particle Transformer."""

import pandas as pd

from softjet.figures.training import draw_confusion, draw_roc
from softjet.provenance.job import job

with job(snakemake):
    draw_confusion(pd.read_parquet(snakemake.input.confusion), snakemake.output.confusion_png)
    draw_roc(pd.read_parquet(snakemake.input.roc), snakemake.output.roc_png)
