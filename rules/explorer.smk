# Stage 8, before the report: a page to look at attention by hand.


rule draw_explorer:
    input:
        model="<results>/part/{run}/model.safetensors",
        config="<results>/part/{run}/config.json",
        test=lambda w: jet_files(w.dataset, "test"),
        maps="<results>/attention/{run}/{dataset}/maps.parquet",
        particles="<results>/attention/{run}/{dataset}/particles.parquet",
    output:
        **recorded(
            page=captioned("<results>/explorer/{run}/{dataset}.html", "explorer")
        ),
    log:
        "<logs>/draw_explorer/{run}-{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
        gpu=0,
    params:
        spec=spec("draw_explorer", CONFIG.attention),
    message:
        "Draw the explorer of {wildcards.run}"
    script:
        "../workflow/scripts/draw_explorer.py"
