"""The run as a research object: an RO-Crate around the folder of results."""

import yaml

from softjet.provenance.crate import write_crate
from softjet.provenance.files import whole_file
from softjet.provenance.job import job

with job(snakemake) as step:
    out = snakemake.output
    with whole_file(out.workflow) as partial:
        partial.write_text(step.section["snakefile"], encoding="utf-8")
    with whole_file(out.configuration) as partial:
        settings = yaml.safe_dump(step.section["configuration"], sort_keys=False)
        partial.write_text(settings, encoding="utf-8")
    write_crate(out.crate, snakemake.input.report, out.workflow, out.configuration)
