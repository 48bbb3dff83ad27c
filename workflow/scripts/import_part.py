"""A Particle Transformer from weights that weaver-core trained."""

from pathlib import Path

from softjet.config.part import ParTRun
from softjet.part.checkpoint import save_part
from softjet.part.published import PUBLISHED, import_part
from softjet.provenance.files import sha256
from softjet.provenance.job import job

with job(snakemake) as step:
    run = ParTRun.model_validate(step.section)
    assert run.weights is not None
    path = Path(snakemake.input.weights)
    save_part(Path(snakemake.output.model).parent, import_part(path, run.weights, run.model))
    source = str(path) if run.weights.folder else PUBLISHED[run.weights.name]
    step.notes |= {"source": source, "sha256": sha256(path), "head_scale": run.weights.head_scale}
