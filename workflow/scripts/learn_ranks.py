"""Learn the ranks of a trained Particle Transformer, recover, fuse."""

from pathlib import Path

import torch

from softjet.config.lowrank import PART_SELECTION, Compression
from softjet.jets.batches import JetLoader
from softjet.lowrank.budget import parameter_counts
from softjet.lowrank.export import save_compressed
from softjet.lowrank.fusion import fuse
from softjet.lowrank.learn import learn_ranks
from softjet.part.checkpoint import load_part
from softjet.part.train import class_loss
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    compression = Compression.model_validate(step.section)
    settings = compression.learning
    model = load_part(Path(snakemake.input.model).parent)
    dense = parameter_counts(model, PART_SELECTION)
    loader = JetLoader.for_model(snakemake.input.train, model.config, settings.batch_size, settings.seed)
    learned = learn_ranks(
        model, PART_SELECTION, loader.training, class_loss, settings, step.state, compression.base
    )
    fuse(model)
    kept = parameter_counts(model, PART_SELECTION).over(dense)
    save_compressed(
        Path(snakemake.output.model).parent,
        model,
        base_model=compression.base,
        licence="MIT",
        how={"method": "soft-threshold", **settings.model_dump(mode="json")},
        kept=kept,
    )
    write_tables({snakemake.output.history: learned.history, snakemake.output.ranks: learned.ranks})
    step.notes |= kept._asdict()
