"""What becomes of a network's answer when its attention is cut or replaced, beside its untrained twin."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import torch

from softjet.attention.effects import effects
from softjet.attention.intervention_sample import sample_of, sample_without_donors
from softjet.attention.interventions import cut_everywhere, intervene
from softjet.attention.sample import draw_background, draw_sample
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
    found = {name: intervene(network, sample, settings) for name, network in networks.items()}
    some = pool.slice(0, settings.rejection_jets)
    background = draw_background(snakemake.input.test, classes, pool, settings.background, settings.seed)
    many = sample_without_donors(pa.concat_tables([some, background]).unify_dictionaries(), shape, settings)
    wide = {"trained": cut_everywhere(networks["trained"], many, settings)} if len(background) else {}
    tables = [
        effects(one, classes, settings.bootstrap, settings.seed, wide.get(name)).assign(network=name)
        for name, one in found.items()
    ]
    write_tables({snakemake.output.interventions: pd.concat(tables, ignore_index=True)})
