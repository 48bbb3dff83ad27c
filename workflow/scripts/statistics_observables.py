"""What a network and its attention say of traditional observables, beside its untrained twin."""

from pathlib import Path

import torch

from softjet.attention.correlations import correlation_table
from softjet.attention.probes import probe_table
from softjet.attention.reading import JetReader
from softjet.attention.states import read
from softjet.config.observables import Observables
from softjet.part.checkpoint import load_part
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = Observables.model_validate(step.section)
    networks = {name: load_part(Path(snakemake.input[name]).parent) for name in ("trained", "untrained")}
    shape = networks["trained"].config
    counts = {"validation": settings.train_jets, "test": settings.jets}
    fitted, tested = (
        read(
            networks,
            JetReader(snakemake.input[split], jets, settings.seed, shape, settings.batch_size),
            settings,
        )
        for split, jets in counts.items()
    )
    step.notes["largest_residual"] = max(fitted.residual, tested.residual)
    resampled = (settings.bootstrap, settings.seed)
    write_tables(
        {
            snakemake.output.probes: probe_table(fitted, tested, *resampled),
            snakemake.output.correlations: correlation_table(tested, *resampled),
        }
    )
