"""The network as it is before training: the null that every trained network is compared with."""

from pathlib import Path

import torch

from softjet.attention.untrained import untrained
from softjet.config.part import ParTRun
from softjet.jets.batches import JetLoader
from softjet.part.checkpoint import save_part
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    run = ParTRun.model_validate(step.section)
    jets = JetLoader.for_model(snakemake.input.jets, run.model, run.training.batch_size).evaluation()
    save_part(Path(snakemake.output.model).parent, untrained(run.model, run.training.seed, jets))
