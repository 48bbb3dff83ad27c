# Stage 6: ranks learned, or cut, to a budget; every method beside the dense model that is trained as long.


rule learn_ranks_part:
    input:
        unpack(lambda w: base_files(w.model)),
        train=lambda w: jet_files(dataset_of(w.model), "train"),
        times=lambda w: crossover_file(w.model),
    output:
        **learned_outputs(),
    log:
        "<logs>/learn_ranks/{model}-{variant}.log",
    wildcard_constraints:
        model=one_of(compressed_parts()),
    conda:
        "../envs/softjet.yaml"
    threads: half_of_cores()
    resources:
        mem_mb=4000,
        runtime=2880,
        gpu=lambda w: gpus(CONFIG.compress[w.model].learning),
    params:
        spec=lambda w: spec("learn_ranks_part", part_section(w)),
    message:
        "Compress {wildcards.model}: {wildcards.variant}"
    script:
        "../workflow/scripts/learn_ranks_part.py"


rule learn_ranks_language:
    input:
        unpack(lambda w: base_files(w.model)),
        train=lambda w: text_file(CONFIG.compress[w.model].base, "train"),
        times=lambda w: crossover_file(w.model),
    output:
        **learned_outputs(),
    log:
        "<logs>/learn_ranks/{model}-{variant}.log",
    wildcard_constraints:
        model=one_of(compressed_language()),
    conda:
        "../envs/softjet.yaml"
    threads: lambda w: threads_of(CONFIG.compress[w.model].base)
    resources:
        mem_mb=lambda w: memory_of(CONFIG.compress[w.model].base),
        runtime=2880,
        gpu=lambda w: gpus(CONFIG.compress[w.model].learning),
    params:
        spec=lambda w: spec(
            "learn_ranks_language",
            learning_section(w) | dense_section(CONFIG.compress[w.model].base),
        ),
    message:
        "Compress {wildcards.model}: {wildcards.variant}"
    script:
        "../workflow/scripts/learn_ranks_language.py"


rule evaluate_compressed_part:
    input:
        model="<results>/lowrank/{model}/{variant}/model.safetensors",
        config="<results>/lowrank/{model}/{variant}/config.json",
        test=lambda w: jet_files(dataset_of(w.model), "test"),
    output:
        **recorded(
            examples="<results>/lowrank/{model}/{variant}/examples.parquet",
            cost="<results>/lowrank/{model}/{variant}/cost.parquet",
        ),
    log:
        "<logs>/evaluate_compressed/{model}-{variant}.log",
    wildcard_constraints:
        model=one_of(compressed_parts()),
    conda:
        "../envs/softjet.yaml"
    threads: half_of_cores()
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=lambda w: gpus(CONFIG.compress[w.model].learning),
    params:
        spec=lambda w: spec(
            "evaluate_compressed_part",
            CONFIG.compress[w.model].learning.model_dump(
                include={"device", "precision"}
            ),
        ),
    message:
        "Evaluate {wildcards.model}: {wildcards.variant}"
    script:
        "../workflow/scripts/evaluate_compressed_part.py"


rule evaluate_compressed_language:
    input:
        model="<results>/lowrank/{model}/{variant}/model.safetensors",
        config="<results>/lowrank/{model}/{variant}/config.json",
        tokenizer=lambda w: language_files(CONFIG.compress[w.model].base)["tokenizer"],
        tokenizer_config=lambda w: language_files(CONFIG.compress[w.model].base)[
            "tokenizer_config"
        ],
        evaluation=lambda w: text_file(CONFIG.compress[w.model].base, "evaluation"),
    output:
        **recorded(
            examples="<results>/lowrank/{model}/{variant}/examples.parquet",
            cost="<results>/lowrank/{model}/{variant}/cost.parquet",
        ),
    log:
        "<logs>/evaluate_compressed/{model}-{variant}.log",
    wildcard_constraints:
        model=one_of(compressed_language()),
    conda:
        "../envs/softjet.yaml"
    threads: lambda w: threads_of(CONFIG.compress[w.model].base)
    resources:
        mem_mb=lambda w: memory_of(CONFIG.compress[w.model].base),
        runtime=240,
        gpu=lambda w: gpus(CONFIG.language[CONFIG.compress[w.model].base].tuning),
    params:
        spec=lambda w: spec(
            "evaluate_compressed_language",
            tuning_sections(CONFIG.compress[w.model].base),
        ),
    message:
        "Evaluate {wildcards.model}: {wildcards.variant}"
    script:
        "../workflow/scripts/evaluate_compressed_language.py"


rule compare_methods_part:
    input:
        examples=lambda w: of_variants(w.model, "examples.parquet"),
        cost=lambda w: of_variants(w.model, "cost.parquet"),
    output:
        **recorded(
            comparison="<results>/lowrank/{model}/comparison.parquet",
            removed="<results>/lowrank/{model}/removed.parquet",
        ),
    log:
        "<logs>/compare_methods/{model}.log",
    wildcard_constraints:
        model=one_of(compressed_parts()),
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        spec=lambda w: spec("compare_methods_part", comparing_section(w.model)),
    message:
        "Compare the methods on {wildcards.model}"
    script:
        "../workflow/scripts/compare_methods_part.py"


rule compare_methods_language:
    input:
        examples=lambda w: of_variants(w.model, "examples.parquet"),
        cost=lambda w: of_variants(w.model, "cost.parquet"),
    output:
        **recorded(
            comparison="<results>/lowrank/{model}/comparison.parquet",
            removed="<results>/lowrank/{model}/removed.parquet",
        ),
    log:
        "<logs>/compare_methods/{model}.log",
    wildcard_constraints:
        model=one_of(compressed_language()),
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        spec=lambda w: spec("compare_methods_language", comparing_section(w.model)),
    message:
        "Compare the methods on {wildcards.model}"
    script:
        "../workflow/scripts/compare_methods_language.py"
