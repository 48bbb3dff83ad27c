# softjet: from collisions to a report. The stages, in the order data flows, stand in rules/.
from snakemake.utils import min_version

min_version("9.25")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"


pathvars:
    results=CONFIG.paths.results,
    resources=CONFIG.paths.resources,
    logs=CONFIG.paths.logs,


wildcard_constraints:
    dataset=one_of(CONFIG.datasets),
    run=one_of(CONFIG.part),
    network=one_of(networks()),
    task=one_of(CONFIG.tasks),
    language=one_of(CONFIG.language),
    source=one_of(downloads()),
    model=one_of(CONFIG.compress),
    variant=one_of(all_variants()),
    split="train|validation|test",


include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/import.smk"
include: "rules/attention.smk"
include: "rules/statistics.smk"
include: "rules/growth.smk"
include: "rules/focus.smk"
include: "rules/observables.smk"
include: "rules/interventions.smk"
include: "rules/language.smk"
include: "rules/compress.smk"
include: "rules/joined.smk"
include: "rules/benchmark.smk"
include: "rules/explorer.smk"
include: "rules/report.smk"
include: "rules/crate.smk"
include: "rules/targets.smk"


# Benchmarks are of jets and of a Particle Transformer.
if CONFIG.part:

    include: "rules/bench.smk"


if (
    trained()
    and CONFIG.datasets[CONFIG.part[trained()[0]].dataset].source == "simulation"
):

    include: "rules/scale.smk"


onstart:
    hold_folder()


onsuccess:
    drop_timers()


onerror:
    drop_timers()
    print_input_errors()


rule all:
    default_target: True
    input:
        "<results>/report.html",
        "<results>/ro-crate-metadata.json",
