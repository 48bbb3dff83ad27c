"""Download published weights."""

from softjet.part.published import PUBLISHED, fetch_weights
from softjet.provenance.job import job

with job(snakemake) as step:
    name = snakemake.wildcards.weights
    fetch_weights(name, snakemake.output.weights)
    step.notes["source"] = PUBLISHED[name]
