"""Stacks of the shapes of known models, dense and with factored matrices, in turns."""

from functools import partial
from itertools import product

import torch
from transformers import PreTrainedModel

from softjet.config.families import FAMILIES
from softjet.language.models import new_model
from softjet.lowrank.speed import measure_factored, table_of
from softjet.progress import Progress
from softjet.provenance.files import write_tables
from softjet.provenance.job import job


def states(ids: torch.Tensor, model: PreTrainedModel) -> object:
    """States after the last layer, without what comes behind."""
    return model.base_model(ids)


with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    own, rows = step.section, []
    settings = list(product(own["stacks"], own["precisions"], own["batches"], own["tokens"]))
    with Progress(len(settings), "time factored stacks", "settings") as progress:
        for name, precision, batch, tokens in settings:
            stack = own["stacks"][name]
            model = new_model(stack["family"], stack["architecture"], seed=1).to(getattr(torch, precision))
            model.config.use_cache = False
            ids = torch.randint(stack["architecture"]["vocab_size"], (batch, tokens))
            row = measure_factored(
                model,
                FAMILIES[stack["family"]].without(stack["dense"]),
                partial(states, ids),
                own["share"],
                own["samples"],
                {"batch": batch, "length": tokens},
                own["noise"],
            )
            rows.append({"stack": name, "precision": precision, **row})
            progress.advance(note=f"{name}, {precision}, {batch} x {tokens}")
    write_tables({snakemake.output.ratios: table_of(rows)})
