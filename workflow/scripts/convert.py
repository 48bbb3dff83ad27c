"""ROOT files to the Parquet files of each split."""

from softjet.config.jets import Dataset
from softjet.jets.convert import SPLITS, convert
from softjet.provenance.job import job

with job(snakemake) as step:
    dataset = Dataset.model_validate(step.section)
    outputs = {
        split: [snakemake.output[f"{split}_{i}"] for i in range(dataset.files_per_split)] for split in SPLITS
    }
    convert(dataset, snakemake.input.root, outputs, snakemake.output.rejected, snakemake.output.counts)
