"""Download what a source names, and leave a list of its files."""

import json
from pathlib import Path

from softjet.config.language import Source
from softjet.language.registry import listed, resolve
from softjet.provenance.files import whole_file
from softjet.provenance.job import job

with job(snakemake) as step:
    downloads = Path(snakemake.config["paths"]["downloads"])
    source = Source.model_validate(step.section["source"])
    folder = resolve(source, downloads / "packages", downloads / "hub", step.section["kind"])
    with whole_file(snakemake.output.files) as partial:
        partial.write_text(json.dumps(listed(folder), indent=1) + "\n", encoding="utf-8")
