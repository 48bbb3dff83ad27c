"""Statistics of attention against a plain forward pass of as many jets, interleaved."""

from functools import partial
from pathlib import Path

import torch

from softjet.attention.tables import chance_of, columns_of, read_attention, statistics_by_table
from softjet.config.attention import Attention
from softjet.jets.batches import JetLoader
from softjet.latency.pairs import measure_pair
from softjet.latency.ratio import summarise
from softjet.part.checkpoint import load_part
from softjet.part.prediction import predict_loader
from softjet.part.speed import Given
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

NAMES = ("statistics", "forward")

with job(snakemake) as step:
    torch.set_num_threads(snakemake.threads)
    own, settings = step.section, Attention.model_validate(step.section["attention"])
    model, test, jets = load_part(Path(snakemake.input.model).parent), snakemake.input.test, own["jets"]
    statistics = statistics_by_table(
        model, columns_of(test), settings, chance_of(settings, model.config.max_particles)
    )
    settings = settings.model_copy(update={"statistics_jets": jets})
    loader = JetLoader.for_model(test, model.config, own["batch_size"], most=jets)
    given = Given.of([list(loader.evaluation())])
    samples = measure_pair(
        partial(read_attention, model, test, settings, statistics),
        partial(predict_loader, model, loader, "float32"),
        own["samples"], 1, names=NAMES, batch=settings.batch_size, length=given.longest,
    )  # fmt: skip
    ratios = summarise(samples, NAMES, noise=own["noise"], seed=settings.seed)
    about = {"jets": jets, "mean_particles": given.particles, "precision": "float32"}
    write_tables({snakemake.output.ratios: ratios.assign(**about)})
