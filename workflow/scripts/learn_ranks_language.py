"""Compress a language model trained on its task, or train it as long without: learn, recover, fuse."""

from pathlib import Path

import pandas as pd
import torch

from softjet.config.families import FAMILIES
from softjet.config.language import Source, Task
from softjet.config.lowrank import RankLearning
from softjet.device import to_device
from softjet.language.batches import loader_of
from softjet.language.losses import answer, task_loss
from softjet.language.models import describe, load_model
from softjet.language.registry import stated
from softjet.language.tokenizers import load_tokenizer
from softjet.lowrank.budget import parameter_counts
from softjet.lowrank.export import save_compressed
from softjet.lowrank.fusion import fuse
from softjet.lowrank.learn import learn_ranks
from softjet.lowrank.price import Times
from softjet.lowrank.shared import selection_of
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = RankLearning.model_validate(step.section["learning"])
    task = Task.model_validate(step.section["task"])
    family, base, weights = (step.section[name] for name in ("family", "base", "weights"))
    folder = Path(snakemake.input.model).parent
    model = to_device(load_model(folder, family), settings.device)
    about = {"kind": "transformers", **describe(model)}
    tokenizer = load_tokenizer(folder, model.config.vocab_size)
    table = pd.read_parquet(snakemake.input.train)
    loader = loader_of(task, table, tokenizer, settings.batch_size, settings.seed)
    selection = selection_of(model, FAMILIES[family], settings)
    dense = parameter_counts(model, selection, settings.embeddings)
    price = Times(pd.read_parquet(snakemake.input.times[0])) if snakemake.input.times else None
    learned = learn_ranks(
        model, selection, loader.training, task_loss, settings, step.state, base, answer, price
    )
    kept = parameter_counts(fuse(model.cpu()), selection, settings.embeddings).over(dense)
    save_compressed(
        Path(snakemake.output.model).parent,
        model,
        base_model=base,
        licence=step.section["licence"],
        how=settings.model_dump(mode="json"),
        kept=kept,
        architecture=about,
        origin={
            "weights": stated(weights and Source.model_validate(weights)),
            "task": {"name": task.name, **task.model_dump(mode="json", exclude_defaults=True)},
        },
    )
    write_tables({snakemake.output.history: learned.history, snakemake.output.ranks: learned.ranks})
    step.notes |= kept._asdict()
