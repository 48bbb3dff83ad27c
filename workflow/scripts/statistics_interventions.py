"""What becomes of a network's answer when its attention is cut or replaced, beside its untrained twin."""

from pathlib import Path

import pandas as pd
import torch

from softjet.attention.effects import effects
from softjet.attention.interventions import intervene, sample_of
from softjet.attention.sample import draw_sample
from softjet.config.interventions import Interventions
from softjet.jets.batches import JetLoader
from softjet.part.checkpoint import load_part
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = Interventions.model_validate(step.section)
    networks = {name: load_part(Path(snakemake.input[name]).parent) for name in ("trained", "untrained")}
    shape = networks["trained"].config
    classes = JetLoader.for_model(snakemake.input.test, shape, settings.batch_size).classes
    pool = draw_sample(snakemake.input.test, settings.donors, settings.seed)
    sample = sample_of(pool, shape, settings)
    tables = [
        effects(intervene(network, sample, settings), classes, settings.bootstrap, settings.seed).assign(
            network=name
        )
        for name, network in networks.items()
    ]
    write_tables({snakemake.output.interventions: pd.concat(tables, ignore_index=True)})
