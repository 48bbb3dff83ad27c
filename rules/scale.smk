# Apart from the report: what JetClass's 125 million jets would take, by the rates of this run. `snakemake scale`.
SCALE_RUN = next(iter(trained()))
SCALE_DATASET = CONFIG.part[SCALE_RUN].dataset
SCALE_STATISTICS = f"<results>/statistics/{SCALE_RUN}/{SCALE_DATASET}"


rule plan_scale:
    input:
        **{f"ranks_{model}": ranked_sidecars(model) for model in CONFIG.compress},
        simulated=sidecars(source_files(SCALE_DATASET)["shared"]),
        jets=jet_files(SCALE_DATASET, *SPLITS),
        converted=sidecars(jet_files(SCALE_DATASET, *SPLITS)),
        test=jet_files(SCALE_DATASET, "test"),
        training=sidecars(
            f"<results>/part/{SCALE_RUN}/{name}"
            for name in ("history.parquet", "model.safetensors", "config.json")
        ),
        evaluation=sidecars([f"<results>/part/{SCALE_RUN}/logits.parquet"]),
        attention=sidecars([f"{SCALE_STATISTICS}/binary.parquet"]),
    output:
        **recorded(
            table="<results>/bench/scale.parquet", page="<results>/bench/scale.md"
        ),
    log:
        "<logs>/plan_scale.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        spec=spec(
            "plan_scale",
            {
                # Published: a million steps of 512; of config/scale.yaml: jobs, and runs of rank learning for a model.
                "wanted": {
                    "jets": 125_000_000,
                    "test": 20_000_000,
                    "seen": 512_000_000,
                    "shards": 3000,
                    "runs": 93,
                },
                "statistics_jets": CONFIG.attention.statistics_jets,
                "compressed": [*CONFIG.compress],
            },
        ),
    message:
        "Plan the whole of JetClass"
    script:
        "../workflow/scripts/plan_scale.py"


rule scale:
    input:
        rules.plan_scale.output.page,
    localrule: True
