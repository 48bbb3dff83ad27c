"""Simulate one shard of one class."""

from softjet.config.jets import Simulation
from softjet.jets.simulate import simulate
from softjet.provenance.job import job

MOST_SHARDS = 10_000

with job(snakemake) as step:
    section = dict(step.section)
    process, shard = section.pop("process"), section.pop("shard")
    settings = Simulation.model_validate(section)
    # What is left after an even share goes to the first shards.
    jets = len(range(shard, settings.jets_per_class, settings.shards))
    simulate(snakemake.output.jets, process, jets, settings.seed * MOST_SHARDS + shard)
