"""Conversion of ROOT files to Parquet against a raw read of the same branches, in turns."""

import tempfile
from functools import partial
from pathlib import Path

import pandas as pd

from softjet.config.jets import Dataset
from softjet.jets.convert import SPLITS, convert
from softjet.jets.copies import read_raw
from softjet.jets.readers.jetclass import branches, inspect_jetclass
from softjet.latency.pairs import measure_pair
from softjet.latency.ratio import summarise
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

NAMES = ("raw read", "convert")
RATIO = ["pairs", "median_a", "median_b", "ratio", "low", "high", "note"]

with job(snakemake) as step, tempfile.TemporaryDirectory(dir=Path(snakemake.output.ratio).parent) as folder:
    own, files = step.section, snakemake.input
    dataset = Dataset.model_validate(own["dataset"])
    schema = inspect_jetclass(files[0]).schema
    outputs = {
        split: [Path(folder, f"{split}_{i}.parquet") for i in range(dataset.files_per_split)]
        for split in SPLITS
    }
    fixed = {split: files.get(split, []) for split in SPLITS}
    tables = Path(folder, "rejected.parquet"), Path(folder, "counts.parquet")
    raw = partial(read_raw, files, branches(schema))
    shared, threads = files.get("shared", []), snakemake.threads
    conversion = partial(convert, dataset, shared, outputs, *tables, fixed, threads)
    samples = measure_pair(raw, conversion, own["samples"], 1, names=NAMES)
    ratio, jets = summarise(samples, NAMES, noise=own["noise"]), raw()
    rates = {
        "raw_jets_per_second": 1e9 * jets / ratio["median_a"],
        "jets_per_second": 1e9 * jets / ratio["median_b"],
    }
    ratio = ratio[RATIO].assign(jets=jets, files=len(files), threads=threads, **rates)
    write_tables({snakemake.output.ratio: ratio, snakemake.output.samples: pd.DataFrame(samples)})
