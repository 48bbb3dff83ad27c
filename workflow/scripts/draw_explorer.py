"""The explorer: a page on which the attention of each jet kept whole can be looked at."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import torch

from softjet.attention.sample import draw_sample
from softjet.config.attention import Attention
from softjet.figures.explorer import jet_facts, write_explorer
from softjet.jets.features import model_inputs
from softjet.jets.schema import table_facts
from softjet.part.checkpoint import load_part
from softjet.part.prediction import predict
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = Attention.model_validate(step.section)
    maps, particles = (pd.read_parquet(snakemake.input[name]) for name in ("maps", "particles"))
    kept = sorted(map(int, maps.jet.unique()))
    jets = draw_sample(snakemake.input.test, settings.jets, settings.seed).take(kept)
    model = load_part(Path(snakemake.input.model).parent)
    inputs = model_inputs(jets, model.config.features, model.config.max_particles)
    features, vectors, mask = map(torch.from_numpy, inputs)
    logits = predict(model, features, vectors, mask, precision="float32")
    facts = jet_facts(jets, kept, logits.softmax(-1).numpy())
    title = f"{snakemake.wildcards.run} on test jets of {snakemake.wildcards.dataset}"
    classes = table_facts(pq.read_schema(snakemake.input.maps)).classes
    write_explorer(snakemake.output.page, title, maps, particles, facts, classes)
