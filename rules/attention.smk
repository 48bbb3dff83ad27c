# Stage 4: attention of trained networks and of their untrained twins.


rule record_attention:
    input:
        model="<results>/part/{network}/model.safetensors",
        config="<results>/part/{network}/config.json",
        test=lambda w: jet_files(w.dataset, "test"),
    output:
        **recorded(
            queries="<results>/attention/{network}/{dataset}/queries.parquet",
            jets="<results>/attention/{network}/{dataset}/jets.parquet",
            maps="<results>/attention/{network}/{dataset}/maps.parquet",
            particles="<results>/attention/{network}/{dataset}/particles.parquet",
        ),
    log:
        "<logs>/record_attention/{network}-{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    threads: half_of_cores()
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=0,
    params:
        spec=spec("record_attention", CONFIG.attention),
    message:
        "Record the attention of {wildcards.network}"
    script:
        "../workflow/scripts/record_attention.py"
