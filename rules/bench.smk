# Apart from the report: how fast the library is, and how close to published values. `make bench`.
BENCH_DATASET = next(iter(CONFIG.datasets))


rule bench_substructure:
    input:
        jets=jet_files(BENCH_DATASET, "test"),
    output:
        **recorded(rates="<results>/bench/substructure.parquet"),
    log:
        "<logs>/bench_substructure.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        spec=spec(
            "bench_substructure",
            {"jets": 10_000, "multiplicities": [40, 53], "samples": 7, "seed": 1},
        ),
    message:
        "Measure substructure observables a second on one core"
    script:
        "../workflow/scripts/bench_substructure.py"


rule compare_substructure:
    input:
        reference=lambda w: CONFIG.datasets[w.dataset].reference,
    output:
        **recorded(
            jets="<results>/bench/substructure_jets/{dataset}.parquet",
            spread="<results>/bench/substructure_spread/{dataset}.parquet",
        ),
        **drawn("<results>/figures/bench/{dataset}", "agreement"),
    log:
        "<logs>/compare_substructure/{dataset}.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        spec=spec("compare_substructure", {}),
    message:
        "Compare substructure with the reference of {wildcards.dataset}"
    script:
        "../workflow/scripts/compare_substructure.py"


rule bench:
    input:
        rules.bench_substructure.output.rates,
        [
            f"<results>/bench/substructure_spread/{name}.parquet"
            for name, settings in CONFIG.datasets.items()
            if settings.reference
        ],
