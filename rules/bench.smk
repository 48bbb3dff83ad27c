# Apart from the report: how fast the library is, and how close to published values. `make bench`.
BENCH_DATASET = next(iter(CONFIG.datasets))
BENCH_RUN = next(iter(CONFIG.part.values()))

# One layer of each model's shape, and a small vocabulary: the linear layers of a block are what is factored. Mamba's
# dt_proj is read by its weight, so that its factors would save nothing.
STACKS = {
    "BERT-base": {
        "family": "bert",
        "architecture": {"num_hidden_layers": 1, "vocab_size": 1000},
        "dense": [],
    },
    "GPT-2": {
        "family": "gpt2",
        "architecture": {"n_layer": 1, "vocab_size": 1000},
        "dense": [],
    },
    "TinyLlama": {
        "family": "llama",
        "architecture": {
            "num_hidden_layers": 1,
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "vocab_size": 1000,
        },
        "dense": [],
    },
    "Mamba-130M": {
        "family": "mamba",
        "architecture": {
            "num_hidden_layers": 1,
            "hidden_size": 768,
            "vocab_size": 1000,
        },
        "dense": ["backbone.layers.*.mixer.dt_proj"],
    },
}

# Peaks of the machine, measured before and after what is set beside them.
PEAKS = {
    "precisions": ["float32", "bfloat16"],
    "samples": 15,
    "size": 2048,
    "length": 2**26,
}


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
        gpu=0,
    params:
        spec=spec(
            "bench_substructure",
            {"jets": 2_000, "multiplicities": [40, 53], "samples": 30, "seed": 1},
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
        gpu=0,
    params:
        spec=spec("compare_substructure", {}),
    message:
        "Compare substructure with the reference of {wildcards.dataset}"
    script:
        "../workflow/scripts/compare_substructure.py"


# A file for the bench alone: those of a dataset go once they are converted, and to ask for one would convert anew.
use rule simulate as simulate_for_bench with:
    output:
        **recorded(jets="<resources>/simulated/for-bench.root"),
    log:
        "<logs>/simulate/for-bench.log",
    params:
        spec=spec("simulate", simulation_job("QCD", 500, 1, 0, seed=1)),
    message:
        "Simulate jets for the readers to read"


rule bench_readers:
    input:
        source=bench_source(BENCH_DATASET),
        jets=jet_files(BENCH_DATASET, "test")[0],
    output:
        **recorded(memory="<results>/bench/readers.parquet"),
    log:
        "<logs>/bench_readers.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        spec=spec(
            "bench_readers",
            {
                "source": CONFIG.datasets[BENCH_DATASET].source,
                "jets": 2000,
                "copies": [1, 8, 64],
            },
        ),
    message:
        "Measure the memory of the readers"
    script:
        "../workflow/scripts/bench_readers.py"


rule bench_loader:
    input:
        jets=jet_files(BENCH_RUN.dataset, "train"),
    output:
        **recorded(rates="<results>/bench/loader.parquet"),
    log:
        "<logs>/bench_loader.log",
    conda:
        "../envs/softjet.yaml"
    # All cores: nothing else may run while the clock does.
    threads: all_cores()
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        spec=spec(
            "bench_loader",
            {
                "run": BENCH_RUN.model_dump(mode="json"),
                "batches": [128, 512],
                "steps": [2, 1],
                "samples": 30,
            },
        ),
    message:
        "Measure the loader, and how long training waits for it"
    script:
        "../workflow/scripts/bench_loader.py"


rule bench_attention:
    input:
        model=f"<results>/part/{next(iter(CONFIG.part))}/model.safetensors",
        config=f"<results>/part/{next(iter(CONFIG.part))}/config.json",
        test=jet_files(BENCH_RUN.dataset, "test"),
    output:
        **recorded(ratios="<results>/bench/attention.parquet"),
    log:
        "<logs>/bench_attention.log",
    conda:
        "../envs/softjet.yaml"
    # All cores: nothing else may run while the clock does.
    threads: all_cores()
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        spec=spec(
            "bench_attention",
            {
                "attention": CONFIG.attention.model_dump(mode="json"),
                "jets": 1000,
                "batch_size": 128,
                "samples": 30,
                "noise": 0.2,
            },
        ),
    message:
        "Measure the statistics of attention against a plain forward pass"
    script:
        "../workflow/scripts/bench_attention.py"


rule bench_inference:
    input:
        model=f"<results>/part/{next(iter(CONFIG.part))}/model.safetensors",
        config=f"<results>/part/{next(iter(CONFIG.part))}/config.json",
        test=jet_files(BENCH_RUN.dataset, "test"),
    output:
        **recorded(
            rates="<results>/bench/inference.parquet",
            peaks="<results>/bench/inference_peaks.parquet",
        ),
    log:
        "<logs>/bench_inference.log",
    conda:
        "../envs/softjet.yaml"
    # All cores: nothing else may run while the clock does.
    threads: all_cores()
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        spec=spec(
            "bench_inference",
            {
                "jets": 2048,
                "every": 4,
                "batch_size": 64,
                "their_batch_size": 128,
                "compared": 5000,
                "samples": 30,
                "peaks": PEAKS,
                "noise": 0.2,
            },
        ),
    message:
        "Measure inference against weaver-core"
    script:
        "../workflow/scripts/bench_inference.py"


rule bench_training:
    input:
        train=jet_files(BENCH_RUN.dataset, "train"),
    output:
        **recorded(
            rates="<results>/bench/training.parquet",
            losses="<results>/bench/training_losses.parquet",
            peaks="<results>/bench/training_peaks.parquet",
        ),
    log:
        "<logs>/bench_training.log",
    conda:
        "../envs/softjet.yaml"
    # All cores: nothing else may run while the clock does.
    threads: all_cores()
    resources:
        mem_mb=6000,
        runtime=60,
        gpu=0,
    params:
        spec=spec(
            "bench_training",
            {
                "run": with_batches_of(BENCH_RUN, 128).model_dump(mode="json"),
                "device": "cpu",
                "samples": 30,
                "peaks": PEAKS,
                "steps": 4,
                "their_batch_size": 128,
                "noise": 0.2,
            },
        ),
    message:
        "Measure training against weaver-core"
    script:
        "../workflow/scripts/bench_training.py"


# Peaks of a GPU, likewise.
GPU_PEAKS = {
    "precisions": ["float32", "bfloat16", "float16"],
    "samples": 15,
    "size": 8192,
    "length": 2**28,
}


rule bench_inference_gpu:
    input:
        model=f"<results>/part/{next(iter(CONFIG.part))}/model.safetensors",
        config=f"<results>/part/{next(iter(CONFIG.part))}/config.json",
        test=jet_files(BENCH_RUN.dataset, "test"),
    output:
        **recorded(
            inference="<results>/bench/gpu_inference.parquet",
            peaks="<results>/bench/gpu_peaks.parquet",
        ),
    log:
        "<logs>/bench_inference_gpu.log",
    conda:
        "../envs/softjet.yaml"
    threads: all_cores()
    resources:
        mem_mb=16000,
        runtime=60,
        gpu=1,
    params:
        spec=spec(
            "bench_inference_gpu",
            {
                # Of batches of such a size, so many a call.
                "batches": {64: 8, 4096: 3},
                "compared": 5000,
                "samples": 30,
                "peaks": GPU_PEAKS,
                "noise": 0.2,
            },
        ),
    message:
        "Measure inference on a GPU against weaver-core there"
    script:
        "../workflow/scripts/bench_inference_gpu.py"


rule bench_training_gpu:
    input:
        train=jet_files(BENCH_RUN.dataset, "train"),
    output:
        **recorded(
            rates="<results>/bench/gpu_training.parquet",
            losses="<results>/bench/gpu_training_losses.parquet",
            peaks="<results>/bench/gpu_training_peaks.parquet",
        ),
    log:
        "<logs>/bench_training_gpu.log",
    conda:
        "../envs/softjet.yaml"
    threads: all_cores()
    resources:
        mem_mb=16000,
        runtime=60,
        gpu=1,
    params:
        spec=spec(
            "bench_training",
            {
                "run": with_batches_of(BENCH_RUN, 512).model_dump(mode="json"),
                "device": "cuda",
                "samples": 30,
                "peaks": GPU_PEAKS,
                "steps": 4,
                "their_batch_size": 512,
                "noise": 0.2,
            },
        ),
    message:
        "Measure training on a GPU against weaver-core there"
    script:
        "../workflow/scripts/bench_training.py"


rule bench_factored:
    output:
        **recorded(
            ratios="<results>/bench/factored.parquet",
            peaks="<results>/bench/factored_peaks.parquet",
        ),
    log:
        "<logs>/bench_factored.log",
    conda:
        "../envs/softjet.yaml"
    # All cores: nothing else may run while the clock does.
    threads: all_cores()
    resources:
        mem_mb=6000,
        runtime=120,
        gpu=0,
    params:
        spec=spec(
            "bench_factored",
            {
                "stacks": STACKS,
                "precisions": ["float32", "bfloat16"],
                "batches": [1, 8],
                "tokens": [1, 128, 512],
                "share": 0.5,
                "samples": 30,
                "peaks": PEAKS,
                "noise": 0.2,
            },
        ),
    message:
        "Measure factored against dense linear layers"
    script:
        "../workflow/scripts/bench_factored.py"


rule bench_growth:
    input:
        jets=jet_files(BENCH_RUN.dataset, "test")[0],
    output:
        **recorded(growth="<results>/bench/growth.parquet"),
    log:
        "<logs>/bench_growth.log",
    conda:
        "../envs/softjet.yaml"
    # All cores: nothing else may run while the clock does.
    threads: all_cores()
    resources:
        mem_mb=6000,
        runtime=60,
        gpu=0,
    params:
        spec=spec(
            "bench_growth",
            {
                "shape": BENCH_RUN.model.model_dump(mode="json"),
                "ways": ["model, float32", "inference, float32"],
                "jets": 64,
                "particles": [8, 16, 32, 64, 128],
                "jets_a_file": 1000,
                "files": [1, 10, 100, 1000],
                "batch_size": 128,
                "stacks": {"BERT-base": STACKS["BERT-base"]},
                "texts": 8,
                "tokens": [32, 64, 128, 256, 512],
                "rounds": 30,
                "processes": 3,
                "noise": 0.2,
            },
        ),
    message:
        "Measure the growth of time and memory"
    script:
        "../workflow/scripts/bench_growth.py"


rule draw_scaling:
    input:
        growth="<results>/bench/growth.parquet",
    output:
        **drawn("<results>/figures/bench", "scaling"),
    log:
        "<logs>/draw_scaling.log",
    conda:
        "../envs/softjet.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
        gpu=0,
    params:
        spec=spec("draw_scaling", {}),
    message:
        "Draw the growth of time and memory"
    script:
        "../workflow/scripts/draw_scaling.py"


rule bench_convert:
    input:
        **source_files(BENCH_DATASET),
    output:
        **recorded(
            ratio="<results>/bench/convert.parquet",
            samples="<results>/bench/convert_samples.parquet",
        ),
    log:
        "<logs>/bench_convert.log",
    conda:
        "../envs/softjet.yaml"
    # All cores: nothing else may run while the clock does.
    threads: all_cores()
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        spec=spec(
            "bench_convert",
            {
                "dataset": conversion_section(BENCH_DATASET),
                "samples": 30,
                "noise": 0.2,
            },
        ),
    message:
        "Measure the conversion against a raw read of the same branches"
    script:
        "../workflow/scripts/bench_convert.py"


rule bench_dry_run:
    output:
        **recorded(times="<results>/bench/dry_run.parquet"),
    log:
        "<logs>/bench_dry_run.log",
    conda:
        "../envs/softjet.yaml"
    # All cores: nothing else may run while the clock does.
    threads: all_cores()
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        spec=spec(
            "bench_dry_run",
            {
                "samples": 5,
                # Which the Snakefile reads by itself.
                "default": text_digest(BASE / "config" / "config.yaml"),
                "configs": {
                    name: text_digest(BASE / "config" / f"{name}.yaml")
                    for name in ("full", "scale")
                },
            },
        ),
    message:
        "Measure the plan of 5,000 jobs"
    script:
        "../workflow/scripts/bench_dry_run.py"


rule bench_gpu:
    input:
        rules.bench_inference_gpu.output,
        rules.bench_training_gpu.output,


rule bench:
    input:
        rules.bench_dry_run.output.times,
        rules.bench_factored.output.ratios,
        rules.bench_training.output.rates,
        rules.bench_inference.output.rates,
        rules.bench_substructure.output.rates,
        rules.bench_readers.output.memory,
        rules.bench_loader.output.rates,
        rules.bench_attention.output.ratios,
        rules.draw_scaling.output.scaling_png,
        # Only ROOT files have a raw read to set beside.
        (
            rules.bench_convert.output.ratio
            if CONFIG.datasets[BENCH_DATASET].source in ("simulation", "jetclass")
            else []
        ),
        [
            f"<results>/bench/substructure_spread/{name}.parquet"
            for name, settings in CONFIG.datasets.items()
            if settings.reference
        ],
