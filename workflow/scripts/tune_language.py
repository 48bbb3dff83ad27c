"""Train a language model on its task."""

from pathlib import Path

import pandas as pd
import torch

from softjet.config.language import Task, Tuning
from softjet.device import to_device
from softjet.language.batches import loader_of
from softjet.language.models import load_model, save_model
from softjet.language.tokenizers import load_tokenizer, save_tokenizer
from softjet.language.tuning import tune
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings, task = Tuning.model_validate(step.section["tuning"]), Task.model_validate(step.section["task"])
    source, target = (Path(path).parent for path in (snakemake.input.model, snakemake.output.model))
    model = to_device(load_model(source, step.section["family"]), settings.device)
    tokenizer = load_tokenizer(source, model.config.vocab_size)
    table = pd.read_parquet(snakemake.input.train)
    loader = loader_of(task, table, tokenizer, settings.batch_size, settings.seed)
    history = tune(model, loader, settings, step.state, target.name)
    save_model(target, model.cpu())
    save_tokenizer(target, tokenizer)
    write_tables({snakemake.output.history: history})
