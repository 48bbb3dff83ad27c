# Stage 5: what attention does, beside its nulls.


rule statistics_attention:
    input:
        model="<results>/part/{run}/model.safetensors",
        config="<results>/part/{run}/config.json",
        untrained="<results>/part/{run}-untrained/model.safetensors",
        untrained_config="<results>/part/{run}-untrained/config.json",
        test=lambda w: jet_files(w.dataset, "test"),
    output:
        **recorded(
            binary="<results>/statistics/{run}/{dataset}/binary.parquet",
            weights="<results>/statistics/{run}/{dataset}/weights.parquet",
            parts="<results>/statistics/{run}/{dataset}/parts.parquet",
            focus="<results>/statistics/{run}/{dataset}/focus.parquet",
            partners="<results>/statistics/{run}/{dataset}/partners.parquet",
            distance="<results>/statistics/{run}/{dataset}/distance.parquet",
            planes="<results>/statistics/{run}/{dataset}/planes.parquet",
        ),
    log:
        "<logs>/statistics_attention/{run}-{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    threads: half_of_cores()
    resources:
        mem_mb=4000,
        runtime=600,
        gpu=0,
    params:
        spec=spec("statistics_attention", CONFIG.attention),
    message:
        "Statistics of the attention of {wildcards.run}"
    script:
        "../workflow/scripts/statistics_attention.py"
