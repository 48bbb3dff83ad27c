"""A network trained a little further with top-k attention, or, to compare with, with all of it."""

from pathlib import Path

import torch

from softjet.attention.topk import ALL
from softjet.attention.tuning import fine_tune
from softjet.config.interventions import TopK
from softjet.jets.batches import JetLoader
from softjet.part.checkpoint import load_part, save_part
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = TopK.model_validate(step.section)
    kept = snakemake.wildcards.kept
    model = load_part(Path(snakemake.input.model).parent)
    jets = JetLoader.for_model(snakemake.input.train, model.config, settings.batch_size, settings.seed)
    k = ALL if kept == "all" else int(kept)
    history = fine_tune(model, jets, settings.training, k, step.state, settings.class_blocks)
    save_part(Path(snakemake.output.model).parent, model)
    write_tables({snakemake.output.history: history})
