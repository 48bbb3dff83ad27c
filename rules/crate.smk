# After the report: the run as a research object.


rule write_crate:
    input:
        report="<results>/report.html",
        # What is told of a run stands in sidecars, which a rerun can change where it gives the same bytes.
        sidecars=sidecars_of_report(),
    output:
        **recorded(
            crate="<results>/ro-crate-metadata.json",
            workflow="<results>/crate/Snakefile",
            configuration="<results>/crate/config.yaml",
        ),
    log:
        "<logs>/write_crate.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=spec("write_crate", crate_section()),
    message:
        "Describe the run as a research object"
    script:
        "../workflow/scripts/write_crate.py"
