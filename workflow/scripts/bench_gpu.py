"""Jets a second on a GPU, answered and trained on, against weaver-core there in turns."""

from contextlib import closing
from pathlib import Path

import pandas as pd

from softjet.config.part import ParTRun
from softjet.device import device_of
from softjet.jets.batches import JetLoader
from softjet.latency.peaks import sample_peaks, summarise_peaks
from softjet.part.checkpoint import load_part
from softjet.part.speed import measure_training, some, with_ceilings
from softjet.part.speed_gpu import measure_on_gpu
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    own, device = step.section, device_of("cuda")
    run, model = ParTRun.model_validate(own["run"]), load_part(Path(snakemake.input.model).parent)
    before = sample_peaks(**own["peaks"], device=device)
    tables = []
    for size, wanted in ((int(size), wanted) for size, wanted in own["batches"].items()):
        timed = JetLoader.for_model(snakemake.input.test, model.config, size)
        batches = some(timed.evaluation(), max(1, -(-timed.n_jets // size) // wanted))[:wanted]
        compared = JetLoader.for_model(snakemake.input.test, model.config, size, most=own["compared"])
        measured = compared.evaluation(), own["samples"], size, device, own["noise"]
        tables.append(measure_on_gpu(model, batches, *measured))
    size = run.training.batch_size
    loader = JetLoader.for_model(snakemake.input.train, run.model, size, run.training.seed)
    with closing(loader.training()) as stream:
        training, losses = measure_training(
            run, stream, own["samples"], own["steps"], size, own["noise"], device=device
        )
    peaks = summarise_peaks(pd.concat([before, sample_peaks(**own["peaks"], device=device)]), own["noise"])
    write_tables(
        {
            snakemake.output.inference: with_ceilings(pd.concat(tables, ignore_index=True), peaks),
            snakemake.output.training: with_ceilings(training, peaks),
            snakemake.output.losses: losses,
            snakemake.output.peaks: peaks,
        }
    )
