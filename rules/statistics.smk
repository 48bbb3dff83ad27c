# Stage 5: what the recorded attention says, beside its nulls.


rule statistics_binary:
    input:
        queries="<results>/attention/{run}/{dataset}/queries.parquet",
        untrained="<results>/attention/{run}-untrained/{dataset}/queries.parquet",
    output:
        **recorded(binary="<results>/statistics/{run}/{dataset}/binary.parquet"),
    log:
        "<logs>/statistics_binary/{run}-{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        spec=spec("statistics_binary", CONFIG.attention),
    message:
        "How binary is the attention of {wildcards.run}?"
    script:
        "../workflow/scripts/statistics_binary.py"
