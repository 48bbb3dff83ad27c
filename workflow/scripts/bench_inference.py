"""Jets a second of a trained network, prepared for inference or not, against weaver-core in turns."""

from pathlib import Path

import pandas as pd
import torch

from softjet.jets.batches import JetLoader
from softjet.latency.peaks import sample_peaks, summarise_peaks
from softjet.part.checkpoint import load_part
from softjet.part.speed import measure_inference, some, with_ceilings
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    own, model = step.section, load_part(Path(snakemake.input.model).parent)
    before = sample_peaks(**own["peaks"])
    timed = JetLoader.for_model(snakemake.input.test, model.config, own["batch_size"], most=own["jets"])
    batches = some(timed.evaluation(), own["every"])
    compared = JetLoader.for_model(
        snakemake.input.test, model.config, own["batch_size"], most=own["compared"]
    )
    table = measure_inference(
        model, batches, list(compared.evaluation()), own["samples"], own["their_batch_size"], own["noise"]
    )
    peaks = summarise_peaks(pd.concat([before, sample_peaks(**own["peaks"])]), own["noise"])
    write_tables({snakemake.output.rates: with_ceilings(table, peaks), snakemake.output.peaks: peaks})
