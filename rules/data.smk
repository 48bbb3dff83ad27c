# Stages 1 and 2: collisions to ROOT files, ROOT files to Parquet.


rule simulate:
    output:
        **recorded(jets="<resources>/simulated/{dataset}/{process}_{shard}.root"),
    log:
        "<logs>/simulate/{dataset}/{process}_{shard}.log",
    wildcard_constraints:
        process=one_of(CLASSES),
        shard=r"\d+",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        spec=lambda w: spec("simulate", simulation_section(w)),
    message:
        "Simulate {wildcards.process} jets, shard {wildcards.shard}"
    script:
        "../workflow/scripts/simulate.py"


for name in CONFIG.datasets:

    rule:
        name:
            f"convert_{name}"
        input:
            root=root_files(name),
        output:
            **recorded(
                counts=f"<results>/jets/{name}/counts.parquet",
                rejected=f"<results>/jets/{name}/rejected.parquet",
                **{Path(path).stem: path for path in jet_files(name, *SPLITS)},
            ),
        log:
            f"<logs>/convert/{name}.log",
        conda:
            "../envs/softjet.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=240,
        params:
            spec=spec("convert", conversion_section(name)),
        message:
            "Convert ROOT files to Parquet"
        script:
            "../workflow/scripts/convert.py"
