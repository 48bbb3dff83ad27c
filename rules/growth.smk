# Stage 5: how binary attention grows along a training that keeps checkpoints.


rule statistics_growth:
    input:
        checkpoints="<results>/part/{run}/checkpoints.safetensors",
        model="<results>/part/{run}/model.safetensors",
        config="<results>/part/{run}/config.json",
        history="<results>/part/{run}/history.parquet",
        untrained="<results>/part/{run}-untrained/model.safetensors",
        untrained_config="<results>/part/{run}-untrained/config.json",
        start=lambda w: start_files(w.run),
        test=lambda w: jet_files(w.dataset, "test"),
    output:
        **recorded(growth="<results>/statistics/{run}/{dataset}/growth.parquet"),
    log:
        "<logs>/statistics_growth/{run}-{dataset}.log",
    wildcard_constraints:
        run=one_of(trained()),
    conda:
        "../envs/softjet.yaml"
    threads: half_of_cores()
    resources:
        mem_mb=4000,
        runtime=600,
        gpu=0,
    params:
        spec=lambda w: spec("statistics_growth", CONFIG.attention, given_start(w.run)),
    message:
        "How binary attention grows along the training of {wildcards.run}"
    script:
        "../workflow/scripts/statistics_growth.py"


rule draw_growth:
    input:
        growth="<results>/statistics/{run}/{dataset}/growth.parquet",
    output:
        **drawn("<results>/figures/{run}/{dataset}", "growth"),
    log:
        "<logs>/draw_growth/{run}-{dataset}.log",
    wildcard_constraints:
        run=one_of(trained()),
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=lambda w: spec("draw_growth", growth_section(w.run)),
    message:
        "Draw the growth of attention of {wildcards.run}"
    script:
        "../workflow/scripts/draw_growth.py"
