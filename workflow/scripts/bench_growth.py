"""Time and memory against particles of a jet, jets of a data set, and tokens of a text."""

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch

from softjet.config.part import ParTModel
from softjet.jets.copies import linked
from softjet.jets.tables import write_jets
from softjet.language.stack import new_stack, random_ids, states
from softjet.latency.growth import measure_growth
from softjet.part.growth import answers
from softjet.progress import Progress
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

Measure = Callable[..., pd.DataFrame]


def of_particles(measure: Measure, shape: ParTModel, own: Mapping[str, Any], way: str) -> pd.DataFrame:
    """Of a network's answers, by particles of a jet."""
    plain, jets = shape.model_dump(mode="json"), own["jets"]
    arguments = {size: [plain, way, jets, size] for size in own["particles"]}
    calls = answers(shape, way, jets, own["particles"])
    table = measure("softjet.part.growth:answer", arguments, [plain, way, 2, 2], calls=calls)
    return table.assign(work=f"ParT, {way}", counted="particles", call=f"{jets} jets")


def of_jets(measure: Measure, shape: ParTModel, own: Mapping[str, Any], jets: Path) -> pd.DataFrame:
    """Of the loader's pass over files in an evaluation, by jets."""
    stored = pq.read_metadata(jets).num_rows
    names = [str(name) for name in linked(jets, max(own["files"]))]
    rest = [shape.features, own["batch_size"], shape.max_particles]
    arguments = {files * stored: [names[:files], *rest] for files in own["files"]}
    table = measure("softjet.jets.copies:pass_over", arguments, [[str(jets)], *rest])
    return table.assign(work="loader", counted="jets", call=f"batches of {own['batch_size']}")


def of_tokens(measure: Measure, own: Mapping[str, Any], name: str) -> pd.DataFrame:
    """Of a stack of a transformer, by tokens of a text."""
    stack = own["stacks"][name]
    described, texts = [stack["family"], stack["architecture"]], own["texts"]
    model = new_stack(*described)
    calls = {size: partial(states, random_ids(model, texts, size), model) for size in own["tokens"]}
    arguments = {size: [*described, texts, size] for size in own["tokens"]}
    table = measure("softjet.language.stack:run_stack", arguments, [*described, 1, 1], calls=calls)
    return table.assign(work=f"{name}, one layer", counted="tokens", call=f"{texts} texts")


with job(snakemake) as step, tempfile.TemporaryDirectory(dir=Path(snakemake.output.growth).parent) as folder:
    torch.set_num_threads(snakemake.threads)
    own, shape = step.section, ParTModel.model_validate(step.section["shape"])
    jets = Path(folder) / "jets.parquet"
    write_jets(pq.read_table(snakemake.input.jets).slice(0, own["jets_a_file"]), jets)
    networks, stacks = (len(own[a]) * len(own[b]) for a, b in (("ways", "particles"), ("stacks", "tokens")))
    total = own["processes"] * (networks + len(own["files"]) + stacks)
    settings = {key: own[key] for key in ("processes", "rounds", "noise")}
    with Progress(total, "measure growth", "processes") as progress:
        measure = partial(measure_growth, **settings, advance=progress.advance)
        tables = [
            *(of_particles(measure, shape, own, way) for way in own["ways"]),
            of_jets(measure, shape, own, jets),
            *(of_tokens(measure, own, name) for name in own["stacks"]),
        ]
    write_tables({snakemake.output.growth: pd.concat(tables).assign(threads=snakemake.threads)})
