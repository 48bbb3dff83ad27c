"""Learn the ranks of a trained Particle Transformer, recover, fuse."""

from pathlib import Path

import torch
from torch.nn import functional

from softjet.config.lowrank import PART_SELECTION, Compression
from softjet.jets.batches import Batch, JetLoader
from softjet.lowrank.budget import parameter_counts
from softjet.lowrank.export import save_compressed
from softjet.lowrank.fusion import fuse
from softjet.lowrank.learn import learn_ranks
from softjet.part.checkpoint import load_part
from softjet.part.model import ParticleTransformer
from softjet.part.precision import autocast
from softjet.provenance.files import whole_file
from softjet.provenance.job import job


def loss(model: ParticleTransformer, batch: Batch) -> torch.Tensor:
    """Cross-entropy of the classes."""
    with autocast("auto"):
        logits = model(batch.features, batch.vectors, batch.mask)
    return functional.cross_entropy(logits.float(), batch.labels)


with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    compression = Compression.model_validate(step.section)
    settings = compression.learning
    model = load_part(Path(snakemake.input.model).parent)
    dense = parameter_counts(model, PART_SELECTION)
    shape, size = model.config, settings.batch_size
    loader = JetLoader(snakemake.input.train, shape.features, size, settings.seed, shape.max_particles)
    learned = learn_ranks(
        model, PART_SELECTION, loader.training, loss, settings, step.state, compression.base
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
    for table, target in (
        (learned.history, snakemake.output.history),
        (learned.ranks, snakemake.output.ranks),
    ):
        with whole_file(target) as partial:
            table.to_parquet(partial, compression="zstd", index=False)
    step.notes |= kept._asdict()
