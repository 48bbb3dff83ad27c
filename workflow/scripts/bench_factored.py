"""Stacks of the shapes of known models, dense and with factored matrices, in turns."""

from functools import partial
from itertools import product

import pandas as pd
import torch

from softjet.config.families import FAMILIES
from softjet.language.stack import new_stack, random_ids, states
from softjet.latency.peaks import sample_peaks, summarise_peaks, with_limits
from softjet.lowrank.speed import measure_factored, table_of
from softjet.progress import Progress
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    own, rows = step.section, []
    before = sample_peaks(**own["peaks"])
    settings = list(product(own["stacks"], own["precisions"], own["batches"], own["tokens"]))
    with Progress(len(settings), "time factored stacks", "settings") as progress:
        for name, precision, batch, tokens in settings:
            stack = own["stacks"][name]
            model = new_stack(stack["family"], stack["architecture"], precision)
            row = measure_factored(
                model,
                FAMILIES[stack["family"]].leaving(stack["dense"]),
                partial(states, random_ids(model, batch, tokens)),
                own["share"],
                own["samples"],
                {"batch": batch, "length": tokens},
                own["noise"],
            )
            rows.append({"stack": name, "precision": precision, **row})
            progress.advance(note=f"{name}, {precision}, {batch} x {tokens}")
    peaks = summarise_peaks(pd.concat([before, sample_peaks(**own["peaks"])]), own["noise"])
    write_tables({snakemake.output.ratios: with_limits(table_of(rows), peaks), snakemake.output.peaks: peaks})
