"""The compressed Particle Transformer beside the dense one, on the same test jets."""

import json
from pathlib import Path

import pandas as pd
import torch

from softjet.config.lowrank import Compression
from softjet.jets.batches import JetLoader
from softjet.lowrank.export import load_compressed
from softjet.part.checkpoint import load_part
from softjet.part.compare import compare_tables
from softjet.part.evaluate import logits_table
from softjet.part.prediction import predict_loader
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    compression = Compression.model_validate(step.section)
    folder = Path(snakemake.input.model).parent
    model = load_compressed(folder, load_part(Path(snakemake.input.base_config).parent))
    loader = JetLoader.for_model(snakemake.input.test, model.config, compression.learning.batch_size)
    logits, labels, rows = (tensor.numpy() for tensor in predict_loader(model, loader))
    compressed = logits_table(logits, labels, rows, loader.classes)
    metrics = compare_tables(pd.read_parquet(snakemake.input.dense), compressed)
    kept = json.loads((folder / "config.json").read_text())["kept"]
    metrics = metrics.rename(columns={"reference": "dense", "other": "compressed"}).assign(
        **{f"keep_{what}": share for what, share in kept.items()}, base_model=compression.base
    )
    write_tables({snakemake.output.metrics: metrics, snakemake.output.logits: compressed})
