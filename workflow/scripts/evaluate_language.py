"""A dense language model on its task."""

from pathlib import Path

import pandas as pd
import torch

from softjet.config.language import Task, Tuning
from softjet.device import to_device
from softjet.language.batches import loader_of
from softjet.language.evaluate import examples_table
from softjet.language.metrics import metrics_table
from softjet.language.models import load_model
from softjet.language.tokenizers import load_tokenizer
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings, task = Tuning.model_validate(step.section["tuning"]), Task.model_validate(step.section["task"])
    folder = Path(snakemake.input.model).parent
    model = to_device(load_model(folder, step.section["family"]), settings.device)
    table = pd.read_parquet(snakemake.input.evaluation)
    loader = loader_of(
        task, table, load_tokenizer(folder, model.config.vocab_size), settings.batch_size, settings.seed
    )
    examples = examples_table(model, loader)
    write_tables(
        {snakemake.output.examples: examples, snakemake.output.metrics: metrics_table(examples, task)}
    )
