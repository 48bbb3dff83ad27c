"""Quality and time of a network with top-k attention, with and without fine-tuning."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import torch

from softjet.attention.sample import draw_background, draw_sample
from softjet.attention.topk import ALL, TUNED, UNTUNED, middle_jets, quality, times
from softjet.config.interventions import TopK
from softjet.jets.batches import JetLoader
from softjet.jets.features import model_inputs
from softjet.part.checkpoint import load_part
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = TopK.model_validate(step.section)
    model = load_part(Path(snakemake.input.model).parent)
    classes = JetLoader.for_model(snakemake.input.test, model.config, settings.batch_size).classes
    sample = draw_sample(snakemake.input.test, settings.jets, settings.seed)
    background = draw_background(snakemake.input.test, classes, sample, settings.background, settings.seed)
    jets = pa.concat_tables([sample, background]).unify_dictionaries()
    arrays = model_inputs(jets, model.config.features, model.config.max_particles)
    features, vectors, mask = map(torch.from_numpy, arrays)
    inputs, label = (features, vectors, mask), jets["label"].to_numpy()
    networks = {UNTUNED: dict.fromkeys((ALL, *settings.keep), model)}
    if settings.tuned:
        paths = zip((ALL, *settings.tuned), snakemake.input.tuned, strict=True)
        networks[TUNED] = {k: load_part(Path(path).parent) for k, path in paths}
    tables = [
        quality(models, inputs, label, classes, settings).assign(weights=name)
        for name, models in networks.items()
    ]
    drawn = slice(len(sample))
    timed = middle_jets((features[drawn], vectors[drawn], mask[drawn]), settings.batch_size)
    tables.append(times(model, timed, settings).assign(weights=UNTUNED))
    write_tables({snakemake.output.topk: pd.concat(tables, ignore_index=True)})
