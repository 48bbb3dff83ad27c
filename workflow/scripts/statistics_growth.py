"""How binary attention grows along a training."""

from pathlib import Path

import pandas as pd
import torch

from softjet.attention.growth import growth_table
from softjet.config.attention import Attention
from softjet.part.checkpoint import load_checkpoints, load_part, load_shape
from softjet.part.finetune import starting_network
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = Attention.model_validate(step.section)
    folder = Path(snakemake.input.model).parent
    last = len(pd.read_parquet(snakemake.input.history, columns=["step"]))
    networks = load_checkpoints(folder) | {last: load_part(folder)}
    untrained = load_part(Path(snakemake.input.untrained).parent)
    start = [starting_network(load_shape(folder), Path(path).parent) for path in snakemake.input.start[:1]]
    growth, residual = growth_table(networks, untrained, snakemake.input.test, settings, *start)
    step.notes["largest_residual"] = residual
    write_tables({snakemake.output.growth: growth})
