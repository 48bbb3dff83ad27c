"""Methods of compressing a language model beside each other, on the same examples."""

import pandas as pd

from softjet.language.metrics import RATIOS, metrics_of, outputs_of
from softjet.lowrank.compare import Run, add_sizes, compare_methods
from softjet.lowrank.margins import add_equivalence, removed_table
from softjet.lowrank.resampling import Metric, of_examples
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    names = step.section["runs"].values()
    tables = [pd.read_parquet(path) for path in snakemake.input.examples]
    outputs = [outputs_of(table)[0] for table in tables]
    labels = outputs_of(tables[0])[1]
    runs = [Run(**name, outputs=found) for name, found in zip(names, outputs, strict=True)]
    metrics = {
        name: Metric(of_examples(metric), name in RATIOS, "lower" if name in RATIOS else "higher")
        for name, metric in metrics_of(step.section["task"]).items()
    }
    costs = [
        pd.read_parquet(path).assign(**name) for path, name in zip(snakemake.input.cost, names, strict=True)
    ]
    compared = add_equivalence(compare_methods(runs, labels, metrics, strata=labels))
    table = add_sizes(compared, pd.concat(costs))
    removed = removed_table(table, step.section["size"])
    write_tables({snakemake.output.comparison: table, snakemake.output.removed: removed})
