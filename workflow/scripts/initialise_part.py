"""The network as it is before training: the null that every trained network is compared with."""

from pathlib import Path

import torch

from softjet.config.part import ParTRun
from softjet.part.checkpoint import save_part
from softjet.part.model import ParticleTransformer
from softjet.provenance.job import job

with job(snakemake) as step:
    run = ParTRun.model_validate(step.section)
    torch.manual_seed(run.training.seed)
    save_part(Path(snakemake.output.model).parent, ParticleTransformer(run.model))
