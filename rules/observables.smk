# Stage 5, continued: does the network know traditional jet substructure?


rule statistics_observables:
    input:
        trained="<results>/part/{run}/model.safetensors",
        trained_config="<results>/part/{run}/config.json",
        untrained="<results>/part/{run}-untrained/model.safetensors",
        untrained_config="<results>/part/{run}-untrained/config.json",
        validation=lambda w: jet_files(w.dataset, "validation"),
        test=lambda w: jet_files(w.dataset, "test"),
    output:
        **recorded(
            probes="<results>/statistics/{run}/{dataset}/probes.parquet",
            correlations="<results>/statistics/{run}/{dataset}/correlations.parquet",
        ),
    log:
        "<logs>/statistics_observables/{run}-{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    threads: half_of_cores()
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=0,
    params:
        spec=spec("statistics_observables", CONFIG.observables),
    message:
        "Does {wildcards.run} know traditional observables?"
    script:
        "../workflow/scripts/statistics_observables.py"


rule draw_observables:
    input:
        probes="<results>/statistics/{run}/{dataset}/probes.parquet",
        correlations="<results>/statistics/{run}/{dataset}/correlations.parquet",
    output:
        **drawn(
            "<results>/figures/{run}/{dataset}",
            "probes",
            "probes_within",
            "correlations",
        ),
    log:
        "<logs>/draw_observables/{run}-{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=spec("draw_observables", {}),
    message:
        "Draw what {wildcards.run} knows of traditional observables"
    script:
        "../workflow/scripts/draw_observables.py"
