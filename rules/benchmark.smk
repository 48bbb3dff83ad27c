# Stage 7: time, dense against compressed, interleaved.


rule measure_latency_part:
    input:
        unpack(lambda w: dense_files(w.model)),
        model="<results>/lowrank/{model}/{variant}/model.safetensors",
        config="<results>/lowrank/{model}/{variant}/config.json",
        test=lambda w: jet_files(dataset_of(w.model), "test"),
    output:
        **timed_outputs(),
    log:
        "<logs>/measure_latency/{model}-{variant}.log",
    wildcard_constraints:
        model=one_of(compressed_parts()),
    conda:
        "../envs/softjet.yaml"
    # All cores: nothing else may run while the clock does.
    threads: all_cores()
    resources:
        mem_mb=3000,
        runtime=120,
        gpu=0,
    params:
        spec=spec(
            "measure_latency_part",
            CONFIG.latency.model_dump(
                mode="json", exclude={"language_batches", "rows", "precision"}
            ),
        ),
    message:
        "Measure dense against compressed {wildcards.model}"
    script:
        "../workflow/scripts/measure_latency_part.py"


rule measure_latency_language:
    input:
        unpack(lambda w: dense_files(w.model)),
        model="<results>/lowrank/{model}/{variant}/model.safetensors",
        config="<results>/lowrank/{model}/{variant}/config.json",
    output:
        **timed_outputs(),
    log:
        "<logs>/measure_latency/{model}-{variant}.log",
    wildcard_constraints:
        model=one_of(compressed_language()),
    conda:
        "../envs/softjet.yaml"
    threads: all_cores()
    resources:
        mem_mb=lambda w: memory_of(CONFIG.compress[w.model].base),
        runtime=120,
        gpu=0,
    params:
        spec=lambda w: spec("measure_latency_language", latency_section(w.model)),
    message:
        "Measure dense against compressed {wildcards.model}"
    script:
        "../workflow/scripts/measure_latency_language.py"


rule measure_crossover:
    input:
        unpack(lambda w: base_files(w.model)),
    output:
        **recorded(times="<results>/latency/{model}/crossover.parquet"),
    log:
        "<logs>/measure_crossover/{model}.log",
    conda:
        "../envs/softjet.yaml"
    # All cores: nothing else may run while the clock does.
    threads: all_cores()
    resources:
        mem_mb=lambda w: memory_of_base(w.model),
        runtime=120,
        gpu=0,
    params:
        spec=lambda w: spec("measure_crossover", crossover_section(w.model)),
    message:
        "Measure at which ranks factors of the matrices of {wildcards.model} are faster"
    script:
        "../workflow/scripts/measure_crossover.py"
