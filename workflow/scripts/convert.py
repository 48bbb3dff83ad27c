"""Files of jets to the Parquet files of each split."""

from softjet.config.jets import Dataset
from softjet.jets.convert import SPLITS, convert
from softjet.provenance.job import job

with job(snakemake) as step:
    dataset, files = Dataset.model_validate(step.section), snakemake.input
    outputs = {
        split: [snakemake.output[f"{split}_{i}"] for i in range(dataset.files_per_split)] for split in SPLITS
    }
    fixed = {split: files.get(split, []) for split in SPLITS}
    tables = snakemake.output.rejected, snakemake.output.counts
    convert(dataset, files.get("shared", []), outputs, *tables, fixed, snakemake.threads)
