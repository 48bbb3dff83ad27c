# Stage 8: figures and the report.


rule draw_jets:
    input:
        jets=lambda w: jet_files(w.dataset, "test"),
    output:
        **drawn("<results>/figures/{dataset}", "jets"),
    log:
        "<logs>/draw_jets/{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=spec("draw_jets", {}),
    message:
        "Draw the jets of {wildcards.dataset}"
    script:
        "../workflow/scripts/draw_jets.py"


rule compare_simulation:
    input:
        jets=lambda w: jet_files(w.dataset, *SPLITS),
        reference=lambda w: CONFIG.datasets[w.dataset].reference,
    output:
        **recorded(table="<results>/jets/{dataset}/comparison.parquet"),
        **drawn("<results>/figures/{dataset}", "comparison"),
    log:
        "<logs>/compare_simulation/{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
        gpu=0,
    params:
        spec=lambda w: spec(
            "compare_simulation",
            {"seed": CONFIG.datasets[w.dataset].seed},
            [CONFIG.datasets[w.dataset].reference],
        ),
    message:
        "Compare the jets of {wildcards.dataset} with published ones"
    script:
        "../workflow/scripts/compare_simulation.py"


rule draw_training:
    input:
        history="<results>/part/{run}/history.parquet",
        validation=lambda w: jet_files(CONFIG.part[w.run].dataset, "validation"),
    output:
        **drawn("<results>/figures/{run}", "history"),
    log:
        "<logs>/draw_training/{run}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=lambda w: spec(
            "draw_training", {"batch_size": CONFIG.part[w.run].training.batch_size}
        ),
    message:
        "Draw the training of {wildcards.run}"
    script:
        "../workflow/scripts/draw_training.py"


rule draw_evaluation:
    input:
        confusion="<results>/part/{run}/confusion.parquet",
        roc="<results>/part/{run}/roc.parquet",
    output:
        **drawn("<results>/figures/{run}", "confusion", "roc"),
    log:
        "<logs>/draw_evaluation/{run}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=spec("draw_evaluation", {}),
    message:
        "Draw the evaluation of {wildcards.run}"
    script:
        "../workflow/scripts/draw_evaluation.py"


rule draw_attention:
    input:
        binary="<results>/statistics/{run}/{dataset}/binary.parquet",
        parts="<results>/statistics/{run}/{dataset}/parts.parquet",
        weights="<results>/statistics/{run}/{dataset}/weights.parquet",
        maps="<results>/attention/{run}/{dataset}/maps.parquet",
        particles="<results>/attention/{run}/{dataset}/particles.parquet",
    output:
        **drawn(
            "<results>/figures/{run}/{dataset}",
            "shares",
            "heads",
            "choices",
            "multiplicity",
            "parts",
            "maps",
            "pairs",
            "weights",
        ),
    log:
        "<logs>/draw_attention/{run}-{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=spec("draw_attention", {}),
    message:
        "Draw the attention of {wildcards.run}"
    script:
        "../workflow/scripts/draw_attention.py"


rule draw_methods:
    input:
        comparison="<results>/lowrank/{model}/comparison.parquet",
    output:
        **drawn("<results>/figures/{model}", "pareto"),
    log:
        "<logs>/draw_methods/{model}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=lambda w: spec("draw_methods", drawing_section(w.model)),
    message:
        "Draw quality against size of {wildcards.model}"
    script:
        "../workflow/scripts/draw_methods.py"


rule draw_compression:
    input:
        ranks="<results>/lowrank/{model}/{variant}/ranks.parquet",
        history="<results>/lowrank/{model}/{variant}/history.parquet",
        samples="<results>/latency/{model}/{variant}.parquet",
        ratios="<results>/latency/{model}/{variant}-ratios.parquet",
    output:
        **drawn(
            "<results>/figures/{model}/{variant}",
            "ranks",
            "spectra",
            "budget",
            "latency",
        ),
    log:
        "<logs>/draw_compression/{model}-{variant}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=lambda w: spec("draw_compression", drawing_section(w.model)),
    message:
        "Draw ranks and times of {wildcards.model}"
    script:
        "../workflow/scripts/draw_compression.py"


rule report:
    input:
        report_inputs(),
    output:
        **recorded(report=captioned("<results>/report.html", "report")),
    log:
        "<logs>/report.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=spec("report", report_section()),
    message:
        "Write the report"
    script:
        "../workflow/scripts/report.py"
