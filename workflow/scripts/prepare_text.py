"""The text of a task as two tables."""

from pathlib import Path

from softjet.config.language import Source, Task
from softjet.language.registry import resolve
from softjet.language.text import prepare_text
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    downloads = Path(snakemake.config["paths"]["downloads"])
    task = Task.model_validate(step.section)

    def folder(source: Source) -> Path:
        """Where the files of a source are."""
        return resolve(source, downloads / "packages", downloads / "hub", "dataset")

    training = folder(task.training) if task.training else None
    texts = prepare_text(task, folder(task.source), training)
    write_tables({snakemake.output.train: texts.training, snakemake.output.evaluation: texts.evaluation})
    step.notes |= texts.notes
