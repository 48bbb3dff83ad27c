"""The report of the whole workflow."""

from pathlib import Path

import pandas as pd

from softjet.attention.findings import findings
from softjet.figures.chapters import build_report
from softjet.provenance.job import job

with job(snakemake) as step:
    results = Path(snakemake.output.report).parent
    statistics = {
        run: results / "statistics" / run / settings["dataset"] / "binary.parquet"
        for run, settings in step.section["part"].items()
    }
    sentences = {run: findings(pd.read_parquet(path)) for run, path in statistics.items()}
    build_report(snakemake.output.report, results, step.section, sentences)
