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
    batch, seed = run.training.batch_size, run.training.seed
    training = JetLoader.for_model(snakemake.input.train, run.model, batch, seed)
    validation = JetLoader.for_model(snakemake.input.validation, run.model, batch)
    history = train_part(run, training, validation, Path(snakemake.output.model).parent, step.state)
    step.notes |= {"steps": len(history), "jets_seen": len(history) * batch, "training_jets": training.n_jets}
