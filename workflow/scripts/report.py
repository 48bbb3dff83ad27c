"""The report of the whole workflow."""

from pathlib import Path

import pandas as pd

from softjet.attention.findings import findings, parts_findings
from softjet.figures.chapters.build import build_report
from softjet.provenance.job import job

with job(snakemake) as step:
    results = Path(snakemake.output.report).parent
    folders = {
        run: results / "statistics" / run / settings["dataset"]
        for run, settings in step.section["part"].items()
    }
    sentences = {
        run: findings(pd.read_parquet(folder / "binary.parquet"))
        | parts_findings(pd.read_parquet(folder / "parts.parquet"))
        for run, folder in folders.items()
    }
    build_report(snakemake.output.report, results, step.section, sentences)
