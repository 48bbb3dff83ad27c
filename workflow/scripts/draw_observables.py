"""Figures of linear probes and of correlations with traditional observables."""

import pandas as pd

from softjet.figures.observables import ALL_JETS, WITHIN, draw_correlations, draw_probes
from softjet.provenance.job import job, tables_drawn

DRAWN_FROM = {"probes": ("probes",), "probes_within": ("probes",), "correlations": ("correlations",)}
"""Tables that each figure draws; they are noted in the figures' sidecars."""

with job(snakemake) as step:
    step.notes["drawn_from"] = tables_drawn(snakemake.input, DRAWN_FROM)
    probes = pd.read_parquet(snakemake.input.probes)
    draw_probes(probes, snakemake.output.probes_png, ALL_JETS)
    draw_probes(probes, snakemake.output.probes_within_png, WITHIN)
    draw_correlations(pd.read_parquet(snakemake.input.correlations), snakemake.output.correlations_png)
