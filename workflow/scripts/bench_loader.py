"""Speed of the loader, of training steps, and what training waits for batches."""

from pathlib import Path

import torch

from softjet.config.part import ParTRun
from softjet.part.feeding import measure_feeding
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = step.section
    run = ParTRun.model_validate(settings["run"])
    steps = dict(zip(settings["batches"], settings["steps"], strict=True))
    scratch = Path(snakemake.output.rates).parent
    table = measure_feeding(snakemake.input.jets, run, steps, settings["samples"], snakemake.threads, scratch)
    write_tables({snakemake.output.rates: table})
