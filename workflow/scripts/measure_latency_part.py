"""Time the dense against the compressed Particle Transformer, interleaved in one process."""

from functools import partial
from pathlib import Path

import pandas as pd
import torch

from softjet.config.latency import Latency
from softjet.jets.batch_sizes import median_batches
from softjet.jets.batches import JetLoader
from softjet.latency.pairs import measure_pair
from softjet.latency.ratio import summarise
from softjet.lowrank.cost import linear_macs
from softjet.lowrank.export import load_compressed
from softjet.part.checkpoint import load_part
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = Latency.model_validate(step.section)
    folder = Path(snakemake.input.dense_model).parent
    models = (load_part(folder), load_compressed(Path(snakemake.input.model).parent, load_part(folder)))
    tables, macs = [], []
    shape, seed = models[0].config, settings.seed
    loaders = (JetLoader.for_model(snakemake.input.test, shape, size, seed) for size in settings.batches)
    # Time grows with the particles of a jet: that of a call is told for jets of median multiplicity.
    for batch in median_batches(loaders):
        jets = (batch.features, batch.vectors, batch.mask)
        length = batch.mask.shape[-1]
        dense, compressed = (partial(model, *jets) for model in models)
        arguments = (settings.samples, settings.warmup)
        tables.append(measure_pair(dense, compressed, *arguments, batch=len(batch.labels), length=length))
        costs = [linear_macs(models[0], dense), linear_macs(models[1], compressed)]
        macs.append((len(batch.labels), length, *(sum(cost.values()) for cost in costs)))
    samples = pd.concat(tables, ignore_index=True)
    ratios = summarise(samples, noise=settings.noise, bootstrap=settings.bootstrap, seed=settings.seed)
    columns = ["batch", "length", "macs_a", "macs_b"]
    ratios = ratios.merge(pd.DataFrame(macs, columns=columns), on=columns[:2], validate="one_to_one")
    write_tables({snakemake.output.samples: samples, snakemake.output.ratios: ratios})
