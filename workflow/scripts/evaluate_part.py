"""Metrics of a trained Particle Transformer on test jets."""

from pathlib import Path

import torch

from softjet.config.part import ParTRun
from softjet.device import device_of_model, to_device
from softjet.jets.batches import JetLoader
from softjet.part.checkpoint import load_part
from softjet.part.evaluate import confusion_table, logits_table, metrics_table, roc_table
from softjet.part.literature import beside_published, results_text
from softjet.part.prediction import at_a_time, predict_loader
from softjet.provenance.files import write_tables
from softjet.provenance.job import job, log

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    run = ParTRun.model_validate(step.section)
    model = to_device(load_part(Path(snakemake.input.model).parent), run.training.device)
    few = at_a_time(device_of_model(model))
    loader = JetLoader.for_model(snakemake.input.test, model.config, few)
    answers = predict_loader(model, loader, run.training.precision)
    logits, labels, rows = (tensor.numpy() for tensor in answers)
    metrics = beside_published(metrics_table(logits, labels, loader.classes), loader.classes)
    log.info("test jets of %s\n%s", run.dataset, results_text(metrics))
    tables = {
        "metrics": metrics,
        "confusion": confusion_table(logits, labels, loader.classes),
        "roc": roc_table(logits, labels, loader.classes),
        "logits": logits_table(logits, labels, rows, loader.classes),
    }
    write_tables({snakemake.output[name]: table for name, table in tables.items()})
