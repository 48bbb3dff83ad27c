"""Methods of compressing a Particle Transformer beside each other, on the same test jets."""

import pandas as pd

from softjet.lowrank.compare import Run, add_sizes, compare_methods
from softjet.lowrank.margins import add_equivalence, removed_table
from softjet.lowrank.resampling import Metric
from softjet.part.compare import same_jets
from softjet.part.resampled import resampled_metrics
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    names = step.section["runs"].values()
    tables = [pd.read_parquet(path) for path in snakemake.input.examples]
    classes, labels, logits = same_jets(tables)
    runs = [Run(**name, outputs=outputs) for name, outputs in zip(names, logits, strict=True)]
    metrics = {
        name: Metric(values, ratio=name.startswith("rejection"))
        for name, values in resampled_metrics(classes).items()
    }
    costs = [
        pd.read_parquet(path).assign(**name) for path, name in zip(snakemake.input.cost, names, strict=True)
    ]
    compared = add_equivalence(compare_methods(runs, labels, metrics, strata=labels))
    table = add_sizes(compared, pd.concat(costs))
    removed = removed_table(table, step.section["size"])
    write_tables({snakemake.output.comparison: table, snakemake.output.removed: removed})
