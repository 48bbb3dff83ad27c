"""Weights and tokenizer of a language model, in one plain folder."""

from pathlib import Path

import pandas as pd

from softjet.config.language import Source
from softjet.language.models import save_model
from softjet.language.registry import resolve
from softjet.language.start import PADDING, start_model, take_padding
from softjet.language.tokenizers import load_tokenizer, save_tokenizer, train_bpe
from softjet.provenance.job import job

with job(snakemake) as step:
    downloads = Path(snakemake.config["paths"]["downloads"])
    section = step.section
    weights, tokens = (
        section[name] and resolve(Source(**section[name]), downloads / "packages", downloads / "hub")
        for name in ("weights", "tokenizer")
    )
    of_task = (section["family"], section["task"], section["length"], section["seed"])
    model = start_model(*of_task, weights, section["architecture"])
    if tokens or weights:
        tokenizer = load_tokenizer(tokens or weights, model.config.vocab_size)
    else:
        table = pd.read_parquet(snakemake.input.train)
        texts = pd.concat([table[name].dropna() for name in ("text", "pair") if name in table])
        tokenizer = train_bpe(texts, model.config.vocab_size, PADDING.get(section["family"], 0))
    if not weights:
        take_padding(model, section["family"], tokenizer)
    target = Path(snakemake.output.model).parent
    save_model(target, model)
    save_tokenizer(target, tokenizer)
