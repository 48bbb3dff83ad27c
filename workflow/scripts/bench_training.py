"""Jets a second of a training, against weaver-core's from the same weights, in turns."""

from contextlib import closing

import pandas as pd
import torch

from softjet.config.part import ParTRun
from softjet.device import device_of
from softjet.jets.batches import JetLoader
from softjet.latency.peaks import sample_peaks, summarise_peaks
from softjet.part.speed import measure_training, with_ceilings
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    own, run = step.section, ParTRun.model_validate(step.section["run"])
    device = device_of(own["device"])
    before = sample_peaks(**own["peaks"], device=device)
    loader = JetLoader.for_model(snakemake.input.train, run.model, run.training.batch_size, run.training.seed)
    with closing(loader.training()) as batches:
        rates, losses = measure_training(
            run, batches, own["samples"], own["steps"], own["their_batch_size"], own["noise"], device=device
        )
    after = sample_peaks(**own["peaks"], device=device)
    peaks = summarise_peaks(pd.concat([before, after]), own["noise"])
    write_tables(
        {
            snakemake.output.rates: with_ceilings(rates, peaks),
            snakemake.output.losses: losses,
            snakemake.output.peaks: peaks,
        }
    )
