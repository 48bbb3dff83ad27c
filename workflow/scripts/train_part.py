"""Train a Particle Transformer."""

from pathlib import Path

from softjet.config.part import ParTRun
from softjet.device import device_name, device_of
from softjet.part.distributed import Task, train_files
from softjet.provenance.job import job

with job(snakemake) as step:
    task = Task(
        run=ParTRun.model_validate(step.section),
        training=tuple(snakemake.input.train),
        validation=tuple(snakemake.input.validation),
        folder=str(Path(snakemake.output.model).parent),
        state=str(step.state),
        start=str(Path(snakemake.input.start[0]).parent) if snakemake.input.start else None,
        threads=snakemake.threads,
    )
    step.device = device_name(device_of(task.run.training.device))
    history = train_files(task)
    step.notes |= {"steps": len(history), "jets_seen": len(history) * task.run.training.batch_size}
