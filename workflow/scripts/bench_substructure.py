"""Jets a second of every set of substructure observables, on one core."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from softjet.jets.speed import jets_of_mean_length, substructure_calls
from softjet.jets.tables import MOMENTUM, list_lengths
from softjet.latency.rate import measure_rate
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    settings = step.section
    table = pa.concat_tables(pq.read_table(path, columns=list(MOMENTUM)) for path in snakemake.input.jets)
    rows = []
    for mean in settings["multiplicities"]:
        jets = jets_of_mean_length(table, settings["jets"], mean, settings["seed"])
        particles = list_lengths(jets, MOMENTUM[0]).mean()
        for (code, observables), call in substructure_calls(jets).items():
            rate = measure_rate(call, len(jets), settings["samples"])
            row = {"code": code, "observables": observables, "jets": len(jets), "mean_particles": particles}
            rows.append({**row, "threads": snakemake.threads, **rate._asdict()})
    write_tables({snakemake.output.rates: pd.DataFrame(rows)})
