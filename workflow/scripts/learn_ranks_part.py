"""Compress a trained Particle Transformer, or train it as long without: learn, recover, fuse."""

from pathlib import Path

import pandas as pd
import torch

from softjet.config.families import FAMILIES
from softjet.config.lowrank import RankLearning
from softjet.device import to_device
from softjet.jets.batches import JetLoader
from softjet.lowrank.budget import parameter_counts
from softjet.lowrank.export import save_compressed
from softjet.lowrank.fusion import fuse
from softjet.lowrank.learn import learn_ranks
from softjet.lowrank.price import Times
from softjet.lowrank.shared import selection_of
from softjet.part.checkpoint import load_part
from softjet.part.train import class_logits, class_loss
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = RankLearning.model_validate(step.section["learning"])
    base = step.section["base"]
    model = to_device(load_part(Path(snakemake.input.model).parent), settings.device)
    selection = selection_of(model, FAMILIES["part"], settings)
    dense = parameter_counts(model, selection)
    loader = JetLoader.for_model(snakemake.input.train, model.config, settings.batch_size, settings.seed)
    price = Times(pd.read_parquet(snakemake.input.times[0])) if snakemake.input.times else None
    learned = learn_ranks(
        model, selection, loader.training, class_loss, settings, step.state, base, class_logits, price
    )
    kept = parameter_counts(fuse(model.cpu()), selection).over(dense)
    save_compressed(
        Path(snakemake.output.model).parent,
        model,
        base_model=base,
        licence=step.section["licence"],
        how=settings.model_dump(mode="json"),
        kept=kept,
        architecture={"kind": "part", **model.config.model_dump(mode="json")},
        origin=step.section["origin"],
    )
    write_tables({snakemake.output.history: learned.history, snakemake.output.ranks: learned.ranks})
    step.notes |= kept._asdict()
