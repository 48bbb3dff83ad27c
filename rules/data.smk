# Stages 1 and 2: collisions to ROOT files, files of any jet format to Parquet.


rule simulate:
    output:
        # Large, and not needed once converted; their sidecars stay.
        **recorded(jets=temp("<resources>/simulated/{dataset}/{process}_{shard}.root")),
    log:
        "<logs>/simulate/{dataset}/{process}_{shard}.log",
    wildcard_constraints:
        process=one_of(CLASSES),
        shard=r"\d+",
    cache: workflow.enable_cache
    priority: FIRST
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
        gpu=0,
    params:
        spec=lambda w: simulation_spec(simulation_section, w),
    message:
        "Simulate {wildcards.process} jets, shard {wildcards.shard}"
    script:
        "../workflow/scripts/simulate.py"


use rule simulate as simulate_test with:
    output:
        **recorded(
            jets=temp("<resources>/simulated/{dataset}/{process}_test_{shard}.root")
        ),
    log:
        "<logs>/simulate/{dataset}/{process}_test_{shard}.log",
    wildcard_constraints:
        process=one_of(CLASSES),
        shard=r"\d+",
    params:
        spec=lambda w: simulation_spec(test_section, w),
    message:
        "Simulate {wildcards.process} jets for the test split, shard {wildcards.shard}"


for name in CONFIG.datasets:

    rule:
        name:
            f"convert_{name}"
        input:
            **source_files(name),
        output:
            **recorded(
                counts=f"<results>/jets/{name}/counts.parquet",
                rejected=f"<results>/jets/{name}/rejected.parquet",
                **{Path(path).stem: path for path in jet_files(name, *SPLITS)},
            ),
        log:
            f"<logs>/convert/{name}.log",
        cache: workflow.enable_cache
        priority: FIRST
        conda:
            "../envs/softjet.yaml"
        threads: half_of_cores()
        resources:
            mem_mb=2000,
            runtime=240,
            gpu=0,
        params:
            spec=lambda w, name=name: conversion_spec(name),
        message:
            "Convert files of jets to Parquet"
        script:
            "../workflow/scripts/convert.py"
