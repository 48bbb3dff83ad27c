# Stage 6: ranks learned by soft threshold.


rule learn_ranks:
    input:
        model=lambda w: f"<results>/part/{CONFIG.compress[w.model].base}/model.safetensors",
        config=lambda w: f"<results>/part/{CONFIG.compress[w.model].base}/config.json",
        train=lambda w: jet_files(dataset_of(w.model), "train"),
    output:
        **recorded(
            model="<results>/lowrank/{model}/{method}/model.safetensors",
            config="<results>/lowrank/{model}/{method}/config.json",
            ranks="<results>/lowrank/{model}/{method}/ranks.parquet",
            history="<results>/lowrank/{model}/{method}/history.parquet",
        ),
    log:
        "<logs>/learn_ranks/{model}-{method}.log",
    conda:
        "../envs/softjet.yaml"
    threads: workflow.cores
    resources:
        mem_mb=4000,
        runtime=2880,
    params:
        spec=lambda w: spec("learn_ranks", CONFIG.compress[w.model]),
    message:
        "Learn the ranks of {wildcards.model}"
    script:
        "../workflow/scripts/learn_ranks.py"


rule evaluate_compressed:
    input:
        model="<results>/lowrank/{model}/{method}/model.safetensors",
        config="<results>/lowrank/{model}/{method}/config.json",
        base=lambda w: f"<results>/part/{CONFIG.compress[w.model].base}/model.safetensors",
        base_config=lambda w: f"<results>/part/{CONFIG.compress[w.model].base}/config.json",
        dense=lambda w: f"<results>/part/{CONFIG.compress[w.model].base}/logits.parquet",
        test=lambda w: jet_files(dataset_of(w.model), "test"),
    output:
        **recorded(
            metrics="<results>/lowrank/{model}/{method}/metrics.parquet",
            logits="<results>/lowrank/{model}/{method}/logits.parquet",
        ),
    log:
        "<logs>/evaluate_compressed/{model}-{method}.log",
    conda:
        "../envs/softjet.yaml"
    threads: workflow.cores
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        spec=lambda w: spec("evaluate_compressed", CONFIG.compress[w.model]),
    message:
        "Evaluate the compressed {wildcards.model} beside the dense one"
    script:
        "../workflow/scripts/evaluate_compressed.py"
