"""What the rounding of pair masses changes in a network's logits."""

from pathlib import Path

import torch

from softjet.jets.batches import JetLoader
from softjet.part.checkpoint import load_part
from softjet.part.pair_forms import compare_pair_forms
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    model = load_part(Path(snakemake.input.model).parent)
    loader = JetLoader.for_model(snakemake.input.test, model.config, step.section["batch_size"])
    every = max(1, loader.n_jets // step.section["jets"])
    write_tables({snakemake.output.table: compare_pair_forms(model, loader, every)})
