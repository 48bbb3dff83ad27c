# Stages 5 and 6 joined: the attention of compressed Particle Transformers.


rule statistics_compressed:
    input:
        models=lambda w: of_variants(w.model, "model.safetensors"),
        configs=lambda w: of_variants(w.model, "config.json"),
        ranks=lambda w: of_variants(w.model, "ranks.parquet"),
        base=lambda w: f"<results>/part/{CONFIG.compress[w.model].base}/model.safetensors",
        base_config=lambda w: f"<results>/part/{CONFIG.compress[w.model].base}/config.json",
        validation=lambda w: jet_files(dataset_of(w.model), "validation"),
        test=lambda w: jet_files(dataset_of(w.model), "test"),
    output:
        **recorded(compressed="<results>/lowrank/{model}/attention.parquet"),
    log:
        "<logs>/statistics_compressed/{model}.log",
    wildcard_constraints:
        model=one_of(compressed_parts()),
    conda:
        "../envs/softjet.yaml"
    threads: half_of_cores()
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=0,
    params:
        spec=lambda w: spec(
            "statistics_compressed",
            {
                "joined": CONFIG.joined.model_dump(mode="json"),
                "compression": CONFIG.compress[w.model].model_dump(mode="json"),
            },
        ),
    message:
        "What becomes of the attention of {wildcards.model} when it gets smaller"
    script:
        "../workflow/scripts/statistics_compressed.py"


rule draw_compressed:
    input:
        compressed="<results>/lowrank/{model}/attention.parquet",
        comparison="<results>/lowrank/{model}/comparison.parquet",
    output:
        **drawn("<results>/figures/{model}", "joined"),
    log:
        "<logs>/draw_compressed/{model}.log",
    wildcard_constraints:
        model=one_of(compressed_parts()),
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=spec("draw_compressed", {}),
    message:
        "Draw what {wildcards.model} loses when it gets smaller"
    script:
        "../workflow/scripts/draw_compressed.py"
