"""Metrics of a trained Particle Transformer on test jets."""

from pathlib import Path

import torch

from softjet.config.part import ParTRun
from softjet.jets.batches import JetLoader
from softjet.part.checkpoint import load_part
from softjet.part.evaluate import confusion_table, logits_table, metrics_table, roc_table
from softjet.part.prediction import predict_loader
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    run = ParTRun.model_validate(step.section)
    model = load_part(Path(snakemake.input.model).parent)
    loader = JetLoader.for_model(snakemake.input.test, model.config, run.training.batch_size)
    logits, labels, rows = (tensor.numpy() for tensor in predict_loader(model, loader))
    tables = {
        "metrics": metrics_table(logits, labels),
        "confusion": confusion_table(logits, labels),
        "roc": roc_table(logits, labels),
        "logits": logits_table(logits, labels, rows),
    }
    write_tables({snakemake.output[name]: table for name, table in tables.items()})
