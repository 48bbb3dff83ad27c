"""Train a Particle Transformer."""

from pathlib import Path

import torch

from softjet.config.part import ParTRun
from softjet.jets.batches import JetLoader
from softjet.part.train import train_part
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    run = ParTRun.model_validate(step.section)
    batch = run.training.batch_size
    arguments = (run.model.features, batch, run.training.seed, run.model.max_particles)
    training = JetLoader(snakemake.input.train, *arguments)
    validation = JetLoader(snakemake.input.validation, *arguments)
    history = train_part(run, training, validation, Path(snakemake.output.model).parent, step.state)
    step.notes |= {"steps": len(history), "jets_seen": len(history) * batch, "training_jets": training.n_jets}
