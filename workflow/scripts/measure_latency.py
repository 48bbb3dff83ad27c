"""Time the dense against the compressed Particle Transformer, interleaved in one process."""

from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd
import torch

from softjet.config.latency import Latency
from softjet.jets.batches import JetLoader
from softjet.latency.pairs import measure_pair
from softjet.latency.ratio import summarise
from softjet.lowrank.export import load_compressed
from softjet.part.checkpoint import load_part
from softjet.provenance.files import whole_file
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = Latency.model_validate(step.section)
    folder = Path(snakemake.input.dense).parent
    dense = load_part(folder)
    compressed = load_compressed(Path(snakemake.input.model).parent, load_part(folder))
    shape, tables = dense.config, []
    for size in settings.batches:
        loader = JetLoader(snakemake.input.test, shape.features, size, settings.seed, shape.max_particles)
        # Batches go from short to long jets: the middle one holds jets of median multiplicity.
        batch = next(islice(loader.evaluation(), loader.steps_per_epoch // 2, None))
        jets = (batch.features, batch.vectors, batch.mask)
        calls = (partial(dense, *jets), partial(compressed, *jets))
        length = batch.mask.shape[-1]
        tables.append(
            measure_pair(*calls, settings.samples, settings.warmup, batch=len(batch.labels), length=length)
        )
    samples = pd.concat(tables, ignore_index=True)
    ratios = summarise(samples, noise=settings.noise, bootstrap=settings.bootstrap, seed=settings.seed)
    for table, target in ((samples, snakemake.output.samples), (ratios, snakemake.output.ratios)):
        with whole_file(target) as partial_file:
            table.to_parquet(partial_file, compression="zstd", index=False)
