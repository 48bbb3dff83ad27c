"""Time the matrices of a dense model against ones of low rank, rank by rank."""

from pathlib import Path

import torch

from softjet.config.families import FAMILIES
from softjet.language.models import load_model
from softjet.lowrank.crossover import measure_crossover
from softjet.lowrank.selection import matrix_shapes
from softjet.part.checkpoint import load_part
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    own, folder = step.section, Path(snakemake.input.model).parent
    family = own["family"]
    model = load_part(folder) if family == "part" else load_model(folder, family)
    shapes = matrix_shapes(model, FAMILIES[family].leaving(own["leave_dense"]))
    times = measure_crossover(
        shapes,
        own["rows"],
        own["samples"],
        noise=own["noise"],
        dtype=getattr(torch, own["precision"]),
        multiple=own["multiple"],
        form=own["form"],
    )
    write_tables({snakemake.output.times: times})
