"""The network as it is before training: the null that every trained network is compared with."""

from pathlib import Path

import torch

from softjet.attention.untrained import untrained
from softjet.config.part import ParTRun
from softjet.jets.batches import JetLoader
from softjet.part.checkpoint import load_shape, save_part
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    run = ParTRun.model_validate(step.section)
    shape = load_shape(Path(snakemake.input.shape[0]).parent) if run.weights else run.model
    jets = JetLoader.for_model(snakemake.input.jets, shape, run.training.batch_size).evaluation()
    save_part(Path(snakemake.output.model).parent, untrained(shape, run.training.seed, jets))
