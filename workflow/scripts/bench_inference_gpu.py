"""Jets a second that are answered on a GPU, against weaver-core there in turns."""

from pathlib import Path

import pandas as pd

from softjet.device import device_of
from softjet.jets.batches import JetLoader
from softjet.latency.peaks import sample_peaks, summarise_peaks
from softjet.part.checkpoint import load_part
from softjet.part.speed import some, with_ceilings
from softjet.part.speed_gpu import measure_on_gpu
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    own, device = step.section, device_of("cuda")
    model = load_part(Path(snakemake.input.model).parent)
    before = sample_peaks(**own["peaks"], device=device)
    tables = []
    for size, wanted in ((int(size), wanted) for size, wanted in own["batches"].items()):
        timed = JetLoader.for_model(snakemake.input.test, model.config, size)
        batches = some(timed.evaluation(), max(1, -(-timed.n_jets // size) // wanted))[:wanted]
        compared = JetLoader.for_model(snakemake.input.test, model.config, size, most=own["compared"])
        measured = compared.evaluation(), own["samples"], size, device, own["noise"]
        tables.append(measure_on_gpu(model, batches, *measured))
    peaks = summarise_peaks(pd.concat([before, sample_peaks(**own["peaks"], device=device)]), own["noise"])
    write_tables(
        {
            snakemake.output.inference: with_ceilings(pd.concat(tables, ignore_index=True), peaks),
            snakemake.output.peaks: peaks,
        }
    )
