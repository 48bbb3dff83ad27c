"""What the whole of JetClass would take, by the rates of this run."""

from pathlib import Path

import pyarrow.parquet as pq

from softjet.latency.plan import Step, markdown, measured, plan
from softjet.provenance.files import whole_file, write_tables
from softjet.provenance.job import job
from softjet.provenance.sidecar import SUFFIX, read_sidecar


with job(snakemake) as step:
    wanted, files = step.section["wanted"], snakemake.input
    simulated = sum(read_sidecar(p.removesuffix(SUFFIX))["section"]["jets"] for p in files.simulated)
    converted, tested = (
        sum(pq.read_metadata(path).num_rows for path in paths) for paths in (files.jets, files.test)
    )
    seen = read_sidecar(files.training[0].removesuffix(SUFFIX))["notes"]["jets_seen"]
    read = min(tested, step.section["statistics_jets"])
    jets, runs = wanted["jets"], wanted["runs"]
    steps = [
        Step(
            "simulation (temporary files)",
            "jets",
            jets,
            wanted["shards"],
            measured(files.simulated, simulated),
        ),
        Step("conversion", "jets", jets, 1, measured(files.converted, converted)),
        Step("training", "jets seen", wanted["seen"], 1, measured(files.training, seen), grows=False),
        Step("training on a GPU", "jets seen", wanted["seen"], 1, None),
        Step("evaluation", "jets", wanted["test"], 1, measured(files.evaluation, tested)),
        Step(
            "statistics of attention", "jets", wanted["test"], 1, measured(files.attention, read), grows=False
        ),
    ]
    steps += [
        Step(f"ranks of {model}", "runs", runs, 2 * runs, measured(files[f"ranks_{model}"], 1))
        for model in step.section["compressed"]
    ]
    table = plan(steps)
    write_tables({snakemake.output.table: table})
    with whole_file(snakemake.output.page) as partial:
        Path(partial).write_text(markdown(table), encoding="utf-8")
