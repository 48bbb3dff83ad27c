"""The compressed Particle Transformer beside the dense one, on the same test jets."""

import json
from pathlib import Path

import pandas as pd
import torch

from softjet.config.lowrank import Compression
from softjet.jets.batches import JetLoader
from softjet.jets.schema import CLASSES
from softjet.lowrank.export import load_compressed
from softjet.part.checkpoint import load_part
from softjet.part.compare import compare
from softjet.part.evaluate import logits_table
from softjet.part.prediction import predict_loader
from softjet.provenance.files import whole_file
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    compression = Compression.model_validate(step.section)
    folder = Path(snakemake.input.model).parent
    model = load_compressed(folder, load_part(Path(snakemake.input.base_config).parent))
    size, shape = compression.learning.batch_size, model.config
    loader = JetLoader(snakemake.input.test, shape.features, size, seed=0, max_particles=shape.max_particles)
    logits, labels, rows = (tensor.numpy() for tensor in predict_loader(model, loader))
    dense = pd.read_parquet(snakemake.input.dense).filter(regex="^logit_").to_numpy()
    kept = json.loads((folder / "config.json").read_text())["kept"]
    metrics = compare(dense, logits, labels, CLASSES).assign(
        **{f"keep_{what}": share for what, share in kept.items()}, base_model=compression.base
    )
    for table, target in (
        (metrics, snakemake.output.metrics),
        (logits_table(logits, labels, rows), snakemake.output.logits),
    ):
        with whole_file(target) as partial:
            table.to_parquet(partial, compression="zstd", index=False)
