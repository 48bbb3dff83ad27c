"""What attention does on test jets, in one pass, beside random logits and the untrained network."""

from pathlib import Path

import torch

from softjet.attention.binary import binary
from softjet.attention.chance import tabulate
from softjet.attention.parts import parts
from softjet.attention.reading import JetReader
from softjet.attention.statistics import statistics_table
from softjet.attention.stream import stream
from softjet.config.attention import Attention
from softjet.part.checkpoint import load_part
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = Attention.model_validate(step.section)
    models = [load_part(Path(snakemake.input[name]).parent) for name in ("model", "untrained")]
    shape, thresholds = models[0].config, settings.thresholds
    chance = tabulate(thresholds, shape.max_particles, settings.seed)
    of_table = {"binary": {"binary": binary(thresholds, chance)}, "parts": parts(thresholds)}
    statistics = {name: one for table in of_table.values() for name, one in table.items()}
    jets = JetReader(
        snakemake.input.test, settings.statistics_jets, settings.seed, shape, settings.batch_size
    )
    arguments = (settings.bootstrap, settings.seed, settings.residual, jets.n_jets)
    trained, untrained = (stream(model, jets, statistics, *arguments) for model in models)
    step.notes["largest_residual"] = max(trained.residual, untrained.residual)
    tables = {
        snakemake.output[table]: statistics_table({name: trained.sums[name] for name in own}, untrained.sums)
        for table, own in of_table.items()
    }
    write_tables(tables)
