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
    jets, tested = (sum(pq.read_metadata(p).num_rows for p in paths) for paths in (files.jets, files.test))
    seen = read_sidecar(files.training[0].removesuffix(SUFFIX))["notes"]["jets_seen"]
    read = min(tested, step.section["statistics_jets"])
    all_jets, all_seen, test, runs = (wanted[name] for name in ("jets", "seen", "test", "runs"))
    steps = [
        Step(
            "simulation (temporary)", "jets", all_jets, wanted["shards"], measured(files.simulated, simulated)
        ),
        Step("conversion", "jets", all_jets, 1, measured(files.converted, jets)),
        Step("training", "jets seen", all_seen, 1, measured(files.training, seen), grows=False),
        Step("training on a GPU", "jets seen", all_seen, 1, None),
        Step("evaluation", "jets", test, 1, measured(files.evaluation, tested)),
        Step("statistics of attention", "jets", test, 1, measured(files.attention, read), grows=False),
    ]
    for model in step.section["compressed"]:
        steps += [Step(f"ranks of {model}", "runs", runs, 2 * runs, measured(files[f"ranks_{model}"], 1))]
    table = plan(steps)
    write_tables({snakemake.output.table: table})
    with whole_file(snakemake.output.page) as partial:
        Path(partial).write_text(markdown(table), encoding="utf-8")
