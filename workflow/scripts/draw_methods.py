"""Quality against size of a compressed model, by method."""

import pandas as pd

from softjet.figures.pareto import draw_pareto
from softjet.provenance.job import job

with job(snakemake) as step:
    table = pd.read_parquet(snakemake.input.comparison)
    of, title = step.section["of"], step.section["title"]
    # Matrices of one time differ a little in their parameters, which is what can be seen of them.
    size = "keep_linears" if of == "time" else f"keep_{of}"
    draw_pareto(table, snakemake.output.pareto_png, table["metric"].iloc[0], size, title)
