"""Download what a source names, and leave a list of its files."""

import json
from pathlib import Path

from softjet.config.language import Source
from softjet.language.registry import resolve
from softjet.provenance.files import sha256, whole_file
from softjet.provenance.job import job

with job(snakemake) as step:
    downloads = Path(snakemake.config["paths"]["downloads"])
    source = Source.model_validate(step.section["source"])
    folder = resolve(source, downloads / "packages", downloads / "hub", step.section["kind"])
    files = {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    with whole_file(snakemake.output.files) as partial:
        partial.write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")
