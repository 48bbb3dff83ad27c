"""Attention, probes and ranks of heads of compressed Particle Transformers beside the dense one."""

from pathlib import Path

import pandas as pd
import torch

from softjet.attention.compressed import compare_attention, read_states
from softjet.attention.compressed_runs import BASE, Run, comparisons, pairs_of
from softjet.attention.compressed_table import compressed_table
from softjet.attention.head_ranks import head_table, learned_thresholds
from softjet.attention.reading import JetReader
from softjet.config.joined import Joined
from softjet.config.lowrank import Compression
from softjet.errors import InputError
from softjet.lowrank.export import load_compressed
from softjet.part.checkpoint import load_part
from softjet.part.model import ParticleTransformer
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    settings = Joined.model_validate(step.section["joined"])
    compression = Compression.model_validate(step.section["compression"])
    base = Path(snakemake.input.base).parent
    runs, models = {"base": Run(BASE, 1.0, 0)}, {"base": load_part(base)}
    thresholds = {}
    for path, (name, one) in zip(snakemake.input.models, compression.runs().items(), strict=True):
        folder = Path(path).parent
        runs[name] = Run(one.method, one.keep, one.seed)
        model = load_compressed(folder)
        if not isinstance(model, ParticleTransformer):
            problem = "is no Particle Transformer; give models whose base is a run of part"
            raise InputError(folder / "config.json", "architecture", problem)
        models[name] = model
        # Other thresholds are on the size of outputs, which singular values of a head's part do not have.
        if one.method == "soft-threshold":
            thresholds[name] = learned_thresholds(pd.read_parquet(folder / "ranks.parquet"))
    against, shape = comparisons(runs), models["base"].config

    def reader(files: list[str], jets: int) -> JetReader:
        """Jets of a split."""
        return JetReader(files, jets, settings.seed, shape, settings.batch_size)

    test = compare_attention(models, pairs_of(against), reader(snakemake.input.test, settings.jets), settings)
    train = read_states(models, reader(snakemake.input.validation, settings.train_jets))
    heads = {
        name: head_table(models[name], models[one.dense], thresholds.get(name, {}))
        for name, one in against.items()
    }
    write_tables({snakemake.output.compressed: compressed_table(runs, train, test, heads, settings)})
