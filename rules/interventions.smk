# Stage 5, continued: does the attention matter, and can most of it be left out?


rule statistics_interventions:
    input:
        trained="<results>/part/{run}/model.safetensors",
        trained_config="<results>/part/{run}/config.json",
        untrained="<results>/part/{run}-untrained/model.safetensors",
        untrained_config="<results>/part/{run}-untrained/config.json",
        test=lambda w: jet_files(w.dataset, "test"),
    output:
        **recorded(
            interventions="<results>/statistics/{run}/{dataset}/interventions.parquet"
        ),
    log:
        "<logs>/statistics_interventions/{run}-{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    threads: half_of_cores()
    resources:
        mem_mb=4000,
        runtime=720,
        gpu=0,
    params:
        spec=spec("statistics_interventions", CONFIG.interventions),
    message:
        "Does the attention of {wildcards.run} matter?"
    script:
        "../workflow/scripts/statistics_interventions.py"


rule tune_topk:
    input:
        model="<results>/part/{run}/model.safetensors",
        config="<results>/part/{run}/config.json",
        train=lambda w: jet_files(CONFIG.part[w.run].dataset, "train"),
    output:
        **recorded(
            model="<results>/topk/{run}/top-{kept}/model.safetensors",
            config="<results>/topk/{run}/top-{kept}/config.json",
            history="<results>/topk/{run}/top-{kept}/history.parquet",
        ),
    log:
        "<logs>/tune_topk/{run}-{kept}.log",
    wildcard_constraints:
        kept=r"all|\d+",
    conda:
        "../envs/softjet.yaml"
    threads: half_of_cores()
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=0,
    params:
        spec=spec("tune_topk", tuning_section()),
    message:
        "Fine-tune {wildcards.run} with top-{wildcards.kept} attention"
    script:
        "../workflow/scripts/tune_topk.py"


rule statistics_topk:
    input:
        model="<results>/part/{run}/model.safetensors",
        config="<results>/part/{run}/config.json",
        tuned=lambda w: tuned_files(w.run, "model.safetensors"),
        tuned_configs=lambda w: tuned_files(w.run, "config.json"),
        test=lambda w: jet_files(w.dataset, "test"),
    output:
        **recorded(topk="<results>/statistics/{run}/{dataset}/topk.parquet"),
    log:
        "<logs>/statistics_topk/{run}-{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    # All cores: nothing else may run while the clock does.
    threads: all_cores()
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=0,
    params:
        spec=spec("statistics_topk", CONFIG.topk),
    message:
        "Can {wildcards.run} do with its largest weights?"
    script:
        "../workflow/scripts/statistics_topk.py"


rule draw_interventions:
    input:
        interventions="<results>/statistics/{run}/{dataset}/interventions.parquet",
        topk="<results>/statistics/{run}/{dataset}/topk.parquet",
    output:
        **drawn(
            "<results>/figures/{run}/{dataset}", "interventions", "silenced", "topk"
        ),
    log:
        "<logs>/draw_interventions/{run}-{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=spec("draw_interventions", {}),
    message:
        "Draw what interventions on {wildcards.run} change"
    script:
        "../workflow/scripts/draw_interventions.py"
