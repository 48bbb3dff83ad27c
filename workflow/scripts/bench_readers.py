"""Memory and rate of every reader, for few jets and for many."""

import tempfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from softjet.jets.copies import read_all, write_quark_gluon, write_top_landscape
from softjet.latency.memory import measure_memory
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

READ = "softjet.jets.copies:read_all"

with job(snakemake) as step, tempfile.TemporaryDirectory(dir=Path(snakemake.output.memory).parent) as folder:
    jets = pq.read_table(snakemake.input.jets).slice(0, step.section["jets"])
    first: dict[str, list] = {}
    rows = []
    for copies in step.section["copies"]:
        top, quark_gluon = Path(folder, f"{copies}.h5"), Path(folder, f"{copies}.npz")
        write_top_landscape(top, jets, copies)
        write_quark_gluon(quark_gluon, jets, copies)
        files: dict[str, list] = {
            "parquet": [snakemake.input.jets] * copies,
            "top_landscape": [str(top)],
            "quark_gluon": [str(quark_gluon)],
            step.section["source"]: [snakemake.input.source] * copies,
        }
        first = first or files
        for source, paths in files.items():
            # Libraries and buffers are in memory once the smallest files are read.
            memory = measure_memory(READ, [source, paths], [source, first[source]])
            rows.append({"format": source, "jets": read_all(source, paths), **memory._asdict()})
    write_tables({snakemake.output.memory: pd.DataFrame(rows)})
