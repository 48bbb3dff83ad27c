"""Time the dense against the compressed language model, interleaved in one process."""

from functools import partial
from pathlib import Path

import pandas as pd
import torch

from softjet.config.latency import Latency
from softjet.language.models import load_model
from softjet.latency.pairs import measure_pair
from softjet.latency.ratio import summarise
from softjet.lowrank.cost import linear_macs
from softjet.lowrank.export import load_compressed
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    length = step.section["length"]
    settings = Latency.model_validate(step.section["latency"])
    models = (
        load_model(Path(snakemake.input.dense_model).parent, step.section["family"]),
        load_compressed(Path(snakemake.input.model).parent),
    )
    tables, macs = [], []
    for size in settings.language_batches:
        generator = torch.Generator().manual_seed(settings.seed)
        tokens = torch.randint(models[0].config.vocab_size, (size, length), generator=generator)
        dense, compressed = (partial(model, tokens) for model in models)
        tables.append(
            measure_pair(dense, compressed, settings.samples, settings.warmup, batch=size, length=length)
        )
        costs = [linear_macs(models[0], dense), linear_macs(models[1], compressed)]
        macs.append((size, length, *(sum(cost.values()) for cost in costs)))
    samples = pd.concat(tables, ignore_index=True)
    ratios = summarise(samples, noise=settings.noise, bootstrap=settings.bootstrap, seed=settings.seed)
    columns = ["batch", "length", "macs_a", "macs_b"]
    ratios = ratios.merge(pd.DataFrame(macs, columns=columns), on=columns[:2], validate="one_to_one")
    write_tables({snakemake.output.samples: samples, snakemake.output.ratios: ratios})
