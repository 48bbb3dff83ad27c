"""Substructure of published jets beside what softjet computes from their particles."""

from pathlib import Path

import pyarrow.parquet as pq

from softjet.figures.substructure import draw_agreement
from softjet.jets.agreement import compare_with_file, spread
from softjet.jets.readers.pieces import damage_named
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake):
    reference = str(snakemake.input.reference)
    with damage_named(Path(reference), "jets", "a Parquet file of jets"):
        both = compare_with_file(pq.read_table(reference), reference)
    write_tables({snakemake.output.jets: both, snakemake.output.spread: spread(both)})
    draw_agreement(both, snakemake.output.agreement_png)
