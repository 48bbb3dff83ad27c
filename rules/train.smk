# Stage 3: training and evaluation of Particle Transformer.


rule train_part:
    input:
        train=lambda w: jet_files(CONFIG.part[w.run].dataset, "train"),
        validation=lambda w: jet_files(CONFIG.part[w.run].dataset, "validation"),
        start=lambda w: start_files(w.run),
    output:
        **recorded(
            model="<results>/part/{run}/model.safetensors",
            config="<results>/part/{run}/config.json",
            history="<results>/part/{run}/history.parquet",
            checkpoints="<results>/part/{run}/checkpoints.safetensors",
        ),
    log:
        "<logs>/train_part/{run}.log",
    wildcard_constraints:
        run=one_of(trained()),
    priority: FIRST
    conda:
        "../envs/softjet.yaml"
    threads: lambda w: threads_of_training(w.run)
    resources:
        mem_mb=5000,
        runtime=2880,
        gpu=lambda w: gpus_of_training(w.run),
    params:
        spec=lambda w: spec("train_part", CONFIG.part[w.run], given_start(w.run)),
    message:
        "Train Particle Transformer {wildcards.run}"
    script:
        "../workflow/scripts/train_part.py"


rule initialise_part:
    input:
        jets=lambda w: jet_files(CONFIG.part[w.run].dataset, "validation"),
        shape=lambda w: shape_file(w.run),
    output:
        **recorded(
            model="<results>/part/{run}-untrained/model.safetensors",
            config="<results>/part/{run}-untrained/config.json",
        ),
    log:
        "<logs>/initialise_part/{run}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        spec=lambda w: spec("initialise_part", CONFIG.part[w.run]),
    message:
        "Initialise the untrained twin of {wildcards.run}"
    script:
        "../workflow/scripts/initialise_part.py"


rule evaluate_part:
    input:
        model="<results>/part/{run}/model.safetensors",
        config="<results>/part/{run}/config.json",
        test=lambda w: jet_files(CONFIG.part[w.run].dataset, "test"),
    output:
        **recorded(
            metrics="<results>/part/{run}/metrics.parquet",
            confusion="<results>/part/{run}/confusion.parquet",
            roc="<results>/part/{run}/roc.parquet",
            logits="<results>/part/{run}/logits.parquet",
        ),
    log:
        "<logs>/evaluate_part/{run}.log",
    conda:
        "../envs/softjet.yaml"
    threads: half_of_cores()
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=lambda w: gpus(CONFIG.part[w.run].training),
    params:
        spec=lambda w: spec("evaluate_part", CONFIG.part[w.run]),
    message:
        "Evaluate Particle Transformer {wildcards.run}"
    script:
        "../workflow/scripts/evaluate_part.py"


rule compare_part:
    input:
        reference="<results>/part/{reference}/logits.parquet",
        other="<results>/part/{other}/logits.parquet",
    output:
        **recorded(
            table="<results>/part/{other}/against-{reference}.parquet",
        ),
    log:
        "<logs>/compare_part/{other}-{reference}.log",
    wildcard_constraints:
        reference=one_of(CONFIG.part),
        other=one_of(CONFIG.part),
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        spec=spec("compare_part", {}),
    message:
        "Compare {wildcards.other} with {wildcards.reference}"
    script:
        "../workflow/scripts/compare_part.py"
