"""Two trained Particle Transformers on the same test jets."""

import pandas as pd

from softjet.part.compare import compare_tables
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake):
    logits = (pd.read_parquet(path) for path in (snakemake.input.reference, snakemake.input.other))
    write_tables({snakemake.output.table: compare_tables(*logits)})
