# Stage 5, continued: where attention goes, on which particles, and to whom.


rule draw_focus:
    input:
        focus="<results>/statistics/{run}/{dataset}/focus.parquet",
        partners="<results>/statistics/{run}/{dataset}/partners.parquet",
        distance="<results>/statistics/{run}/{dataset}/distance.parquet",
        planes="<results>/statistics/{run}/{dataset}/planes.parquet",
    output:
        **drawn(
            "<results>/figures/{run}/{dataset}",
            "focus",
            "focus_layers",
            "subjets",
            "partners",
            "attribution",
            "distance",
            "planes",
            "planes_layers",
        ),
    log:
        "<logs>/draw_focus/{run}-{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=spec("draw_focus", {}),
    message:
        "Draw what the attention of {wildcards.run} focuses on"
    script:
        "../workflow/scripts/draw_focus.py"
