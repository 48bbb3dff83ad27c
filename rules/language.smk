# Language models: where weights and text come from, and the dense model trained on its task.


# Compute nodes of a cluster have no network.
localrules:
    download,
    fetch_source,
    fetch_weights,


rule download:
    input:
        [f"<resources>/sources/{name}.json" for name in downloads()],
        [
            weights_file(CONFIG.part[run].weights)
            for run in imported()
            if not CONFIG.part[run].weights.folder
        ],


rule fetch_source:
    output:
        **recorded(files="<resources>/sources/{source}.json"),
    log:
        "<logs>/fetch_source/{source}.log",
    priority: SOON
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=240,
        gpu=0,
    params:
        spec=lambda w: spec("fetch_source", downloads()[w.source]),
    message:
        "Fetch {wildcards.source}"
    script:
        "../workflow/scripts/fetch_source.py"


rule prepare_text:
    input:
        source=lambda w: resolved(CONFIG.tasks[w.task].source, f"tasks.{w.task}.source"),
        training=lambda w: resolved(
            CONFIG.tasks[w.task].training, f"tasks.{w.task}.training"
        ),
    output:
        **recorded(
            train="<results>/text/{task}/train.parquet",
            evaluation="<results>/text/{task}/evaluation.parquet",
        ),
    log:
        "<logs>/prepare_text/{task}.log",
    priority: SOON
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=0,
    params:
        spec=lambda w: spec(
            "prepare_text",
            CONFIG.tasks[w.task],
            given_source(CONFIG.tasks[w.task].source, CONFIG.tasks[w.task].training),
        ),
    message:
        "Prepare the text of {wildcards.task}"
    script:
        "../workflow/scripts/prepare_text.py"


rule prepare_language:
    input:
        weights=lambda w: resolved(
            CONFIG.language[w.language].weights, f"language.{w.language}.weights"
        ),
        tokenizer=lambda w: resolved(
            CONFIG.language[w.language].tokenizer, f"language.{w.language}.tokenizer"
        ),
        train=lambda w: text_file(w.language, "train"),
    output:
        **recorded(**language_files("{language}", "start/")),
    log:
        "<logs>/prepare_language/{language}.log",
    priority: SOON
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=lambda w: memory_of(w.language),
        runtime=60,
        gpu=0,
    params:
        spec=lambda w: spec(
            "prepare_language",
            language_section(w.language),
            given_source(
                CONFIG.language[w.language].weights,
                CONFIG.language[w.language].tokenizer,
            ),
        ),
    message:
        "Prepare the weights and the tokenizer of {wildcards.language}"
    script:
        "../workflow/scripts/prepare_language.py"


rule tune_language:
    input:
        **language_files("{language}", "start/"),
        train=lambda w: text_file(w.language, "train"),
    output:
        **recorded(
            **language_files("{language}"),
            history="<results>/language/{language}/history.parquet",
        ),
    log:
        "<logs>/tune_language/{language}.log",
    priority: SOON
    conda:
        "../envs/softjet.yaml"
    threads: lambda w: threads_of(w.language)
    resources:
        mem_mb=lambda w: memory_of(w.language),
        runtime=2880,
        gpu=lambda w: gpus(CONFIG.language[w.language].tuning),
    params:
        spec=lambda w: spec("tune_language", tuning_sections(w.language)),
    message:
        "Train {wildcards.language} on its task"
    script:
        "../workflow/scripts/tune_language.py"


rule evaluate_language:
    input:
        **language_files("{language}"),
        evaluation=lambda w: text_file(w.language, "evaluation"),
    output:
        **recorded(
            examples="<results>/language/{language}/examples.parquet",
            metrics="<results>/language/{language}/metrics.parquet",
        ),
    log:
        "<logs>/evaluate_language/{language}.log",
    conda:
        "../envs/softjet.yaml"
    threads: lambda w: threads_of(w.language)
    resources:
        mem_mb=lambda w: memory_of(w.language),
        runtime=240,
        gpu=lambda w: gpus(CONFIG.language[w.language].tuning),
    params:
        spec=lambda w: spec("evaluate_language", tuning_sections(w.language)),
    message:
        "Evaluate {wildcards.language}"
    script:
        "../workflow/scripts/evaluate_language.py"
