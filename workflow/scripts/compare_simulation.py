"""Simulated jets beside reference jets of the same classes."""

import awkward as ak

from softjet.figures.simulation import compare, draw_comparison
from softjet.jets.read import read_reference
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

COLUMNS = ["label", "part_px", "part_py", "part_pz", "part_energy"]

with job(snakemake) as step:
    simulated = ak.concatenate([ak.from_parquet(path, columns=COLUMNS) for path in snakemake.input.jets])
    reference = ak.from_arrow(read_reference(snakemake.input.reference).select(COLUMNS))
    table = compare(simulated, reference, step.section["seed"])
    write_tables({snakemake.output.table: table})
    draw_comparison(simulated, reference, snakemake.output.comparison_png, step.section["seed"])
