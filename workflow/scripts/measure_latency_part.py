"""Time the dense against the compressed Particle Transformer, interleaved in one process."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import pandas as pd
import torch
from torch import nn

from softjet.config.latency import Latency
from softjet.errors import InputError
from softjet.jets.batch_sizes import median_batches
from softjet.jets.batches import JetLoader
from softjet.latency.pairs import measure_pair
from softjet.latency.ratio import summarise
from softjet.lowrank.cost import linear_macs
from softjet.lowrank.export import load_compressed
from softjet.part.checkpoint import load_part
from softjet.part.model import ParticleTransformer
from softjet.part.native import NativeModel
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

log = logging.getLogger("softjet")

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = Latency.model_validate(step.section)
    folder = Path(snakemake.input.dense_model).parent
    models = (load_part(folder), load_compressed(Path(snakemake.input.model).parent, load_part(folder)))
    runtimes: dict[str, Sequence[nn.Module]] = {"torch": models}
    try:
        runtimes["compiled blocks"] = [
            NativeModel(cast(ParticleTransformer, model), "float32") for model in models
        ]
    except InputError as error:
        log.info("compiled blocks: not measured: %s", error)
    tables, macs = [], []
    shape, seed = models[0].config, settings.seed
    loaders = (JetLoader.for_model(snakemake.input.test, shape, size, seed) for size in settings.batches)
    # Time grows with the particles of a jet: that of a call is told for jets of median multiplicity.
    for batch in median_batches(loaders):
        jets = (batch.features, batch.vectors, batch.mask)
        length = batch.mask.shape[-1]
        size = len(batch.labels)
        for runtime, (dense, compressed) in runtimes.items():
            calls = partial(dense, *jets), partial(compressed, *jets)
            arguments = (*calls, settings.samples, settings.warmup)
            tables.append(measure_pair(*arguments, runtime=runtime, batch=size, length=length))
        costs = [linear_macs(model, partial(model, *jets)) for model in models]
        macs.append((size, length, *(sum(cost.values()) for cost in costs)))
    samples = pd.concat(tables, ignore_index=True)
    ratios = summarise(samples, noise=settings.noise, bootstrap=settings.bootstrap, seed=settings.seed)
    columns = ["batch", "length", "macs_a", "macs_b"]
    ratios = ratios.merge(pd.DataFrame(macs, columns=columns), on=columns[:2], validate="many_to_one")
    write_tables({snakemake.output.samples: samples, snakemake.output.ratios: ratios})
