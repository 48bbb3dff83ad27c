"""How binary the attention is, beside its nulls."""

from softjet.attention.statistics import attention_statistics
from softjet.config.attention import Attention
from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step:
    settings = Attention.model_validate(step.section)
    table = attention_statistics(
        snakemake.input.queries,
        snakemake.input.untrained,
        settings.thresholds,
        settings.bootstrap,
        settings.seed,
    )
    write_tables({snakemake.output.binary: table})
