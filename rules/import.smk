# Stage 3, beside training: weights that others trained, and what the rounding of pair masses changes.


rule fetch_weights:
    output:
        **recorded(weights="<resources>/weights/{weights}.pt"),
    log:
        "<logs>/fetch_weights/{weights}.log",
    wildcard_constraints:
        weights=r"[\w.\-]+",
    cache: workflow.enable_cache
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=lambda w: shared_spec(
            CONFIG.paths.resources, "fetch_weights", {"weights": w.weights}
        ),
    message:
        "Download the published weights {wildcards.weights}"
    script:
        "../workflow/scripts/fetch_weights.py"


rule import_part:
    input:
        weights=lambda w: weights_file(CONFIG.part[w.run].weights),
    output:
        **recorded(
            model="<results>/part/{run}/model.safetensors",
            config="<results>/part/{run}/config.json",
        ),
    log:
        "<logs>/import_part/{run}.log",
    wildcard_constraints:
        run=one_of(imported()),
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        spec=lambda w: spec("import_part", import_section(w.run), given_weights(w.run)),
    message:
        "Import the weights of {wildcards.run}"
    script:
        "../workflow/scripts/import_part.py"


rule compare_pair_forms:
    input:
        model="<results>/part/{run}/model.safetensors",
        config="<results>/part/{run}/config.json",
        test=lambda w: jet_files(CONFIG.part[w.run].dataset, "test"),
    output:
        **recorded(table="<results>/part/{run}/pair_forms.parquet"),
    log:
        "<logs>/compare_pair_forms/{run}.log",
    conda:
        "../envs/softjet.yaml"
    threads: half_of_cores()
    resources:
        mem_mb=3000,
        runtime=60,
        gpu=0,
    params:
        spec=spec("compare_pair_forms", {"jets": 1000, "batch_size": 128}),
    message:
        "Compare the forms of the pair mass in {wildcards.run}"
    script:
        "../workflow/scripts/compare_pair_forms.py"
