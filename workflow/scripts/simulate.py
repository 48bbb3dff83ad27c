"""Simulate one shard of one class."""

from softjet.jets.simulate import simulate
from softjet.provenance.job import job

with job(snakemake) as step:
    section = step.section
    simulate(snakemake.output.jets, section["process"], section["jets"], section["seed"])
