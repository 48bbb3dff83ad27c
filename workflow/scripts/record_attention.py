"""Record the attention of a network on test jets."""

from pathlib import Path

import torch

from softjet.attention.dataset import TABLES, record_dataset
from softjet.attention.sample import draw_sample
from softjet.config.attention import Attention
from softjet.part.checkpoint import load_part
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = Attention.model_validate(step.section)
    model = load_part(Path(snakemake.input.model).parent)
    sample = draw_sample(snakemake.input.test, settings.jets, settings.seed)
    outputs = {name: snakemake.output[name] for name in TABLES}
    step.notes["largest_residual"] = record_dataset(model, sample, settings, outputs)
