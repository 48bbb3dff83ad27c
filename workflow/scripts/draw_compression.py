"""Learned ranks, spectra, the way to the budget, and the time gained."""

import pandas as pd

from softjet.figures.latency import draw_latency
from softjet.figures.lowrank import draw_budget, draw_ranks, draw_spectra
from softjet.provenance.job import job

with job(snakemake) as step:
    title = f"{step.section['title']}: {snakemake.wildcards.variant}"
    tables = {name: pd.read_parquet(path) for name, path in snakemake.input.items()}
    out = snakemake.output
    draw_ranks(tables["ranks"], out.ranks_png, title)
    draw_spectra(tables["ranks"], out.spectra_png, title)
    draw_budget(tables["history"], out.budget_png, title)
    draw_latency(tables["samples"], tables["ratios"], out.latency_png, units=tuple(step.section["units"]))
