"""A compressed language model on its task, and what it costs."""

import json
from functools import partial
from pathlib import Path

import pandas as pd
import torch

import softjet.language.models  # noqa: F401 (load_compressed imports it by its name, which the digest cannot see)
from softjet.config.language import Task, Tuning
from softjet.device import to_device
from softjet.language.batches import loader_of
from softjet.language.evaluate import examples_table
from softjet.language.tokenizers import load_tokenizer
from softjet.lowrank.cost import linear_macs
from softjet.lowrank.export import load_compressed
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings, task = Tuning.model_validate(step.section["tuning"]), Task.model_validate(step.section["task"])
    folder = Path(snakemake.input.model).parent
    model = load_compressed(folder)
    tokenizer = load_tokenizer(Path(snakemake.input.tokenizer).parent)
    table = pd.read_parquet(snakemake.input.evaluation)
    loader = loader_of(task, table, tokenizer, settings.batch_size, settings.seed)
    window = torch.zeros(1, task.length, dtype=torch.long)
    macs = linear_macs(model, partial(model, window))
    kept = json.loads((folder / "config.json").read_text())["kept"]
    cost = {f"keep_{what}": share for what, share in kept.items()}
    cost |= {"macs": sum(macs.values()), "length": task.length}
    write_tables(
        {
            snakemake.output.examples: examples_table(to_device(model, settings.device), loader),
            snakemake.output.cost: pd.DataFrame([cost]),
        }
    )
