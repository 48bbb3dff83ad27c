# Stage 7: time, dense against compressed, interleaved.


rule measure_latency:
    input:
        dense=lambda w: f"<results>/part/{CONFIG.compress[w.model].base}/model.safetensors",
        dense_config=lambda w: f"<results>/part/{CONFIG.compress[w.model].base}/config.json",
        model="<results>/lowrank/{model}/{method}/model.safetensors",
        config="<results>/lowrank/{model}/{method}/config.json",
        test=lambda w: jet_files(dataset_of(w.model), "test"),
    output:
        **recorded(
            samples="<results>/latency/{model}/{method}.parquet",
            ratios="<results>/latency/{model}/{method}-ratios.parquet",
        ),
    log:
        "<logs>/measure_latency/{model}-{method}.log",
    conda:
        "../envs/softjet.yaml"
    # All cores: nothing else may run while the clock does.
    threads: workflow.cores
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        spec=spec("measure_latency", CONFIG.latency),
    message:
        "Measure dense against compressed {wildcards.model}"
    script:
        "../workflow/scripts/measure_latency.py"
