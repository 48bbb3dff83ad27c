"""A compressed Particle Transformer on the test jets, and what it costs."""

import json
from functools import partial
from pathlib import Path

import pandas as pd
import torch

import softjet.part.checkpoint  # noqa: F401 (load_compressed imports it by its name, which the digest cannot see)
from softjet.device import device_of_model, to_device
from softjet.jets.batches import JetLoader
from softjet.lowrank.cost import linear_macs
from softjet.lowrank.export import load_compressed
from softjet.part.evaluate import logits_table
from softjet.part.model import ParticleTransformer
from softjet.part.prediction import at_a_time, predict_loader
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    folder = Path(snakemake.input.model).parent
    model = load_compressed(folder)
    assert isinstance(model, ParticleTransformer)
    # What a call costs grows with the particles of the jet: it is told for the median multiplicity.
    jet = JetLoader.for_model(snakemake.input.test, model.config, 1).median_batch()
    macs = linear_macs(model, partial(model, jet.features, jet.vectors, jet.mask))
    to_device(model, step.section["device"])
    few = at_a_time(device_of_model(model))
    loader = JetLoader.for_model(snakemake.input.test, model.config, few)
    answers = predict_loader(model, loader, step.section["precision"])
    logits, labels, rows = (tensor.numpy() for tensor in answers)
    kept = json.loads((folder / "config.json").read_text())["kept"]
    cost = {f"keep_{what}": share for what, share in kept.items()}
    cost |= {"macs": sum(macs.values()), "length": jet.mask.shape[-1]}
    write_tables(
        {
            snakemake.output.examples: logits_table(logits, labels, rows, loader.classes),
            snakemake.output.cost: pd.DataFrame([cost]),
        }
    )
