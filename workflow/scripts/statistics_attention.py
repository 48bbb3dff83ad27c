"""What attention does on test jets, in one pass, beside random logits and the untrained network."""

from pathlib import Path

import torch

from softjet.attention.tables import attention_tables
from softjet.config.attention import Attention
from softjet.part.checkpoint import load_part
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = Attention.model_validate(step.section)
    model, untrained = (load_part(Path(snakemake.input[name]).parent) for name in ("model", "untrained"))
    tables, residual = attention_tables(model, untrained, snakemake.input.test, settings)
    step.notes["largest_residual"] = residual
    write_tables({snakemake.output[name]: table for name, table in tables.items()})
