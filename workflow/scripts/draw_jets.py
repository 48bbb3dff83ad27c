"""Distributions of a dataset's jets."""

import pandas as pd
import pyarrow.parquet as pq

from softjet.figures.jets import draw_jets
from softjet.jets.schema import table_facts
from softjet.provenance.job import job

COLUMNS = ["label", "jet_sdmass", "jet_nparticles", "jet_tau1", "jet_tau2", "jet_tau3"]

with job(snakemake):
    tables = [pd.read_parquet(path, columns=COLUMNS) for path in snakemake.input.jets]
    classes = table_facts(pq.read_schema(snakemake.input.jets[0])).classes
    draw_jets(pd.concat(tables), snakemake.output.jets_png, classes)
