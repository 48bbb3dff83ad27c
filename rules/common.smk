# Functions of the workflow; rules stand in the other files.
import fcntl
import gc
import os
import re
import sys
import threading
import time
from functools import cache
from pathlib import Path

from softjet.config.load import validate
from softjet.config.lowrank import LEARNED
from softjet.errors import InputError
from softjet.jets.schema import CLASSES
from softjet.provenance.digests import code_digest, fingerprint, text_digest
from softjet.provenance.failures import KEPT
from softjet.provenance.job import DONE
from softjet.provenance.sidecar import sidecar_path

BASE = Path(str(workflow.current_basedir)).parent

try:
    CONFIG = validate(config, ", ".join(map(str, workflow.configfiles)))
except InputError as error:
    raise WorkflowError(str(error))

# Without its records of how results were made, Snakemake would take them for up to date whatever has changed.
RECORDS = Path(".snakemake/metadata")
if (
    next(Path(CONFIG.paths.results).rglob("*.meta.json"), None)
    and not (RECORDS.is_dir() and any(RECORDS.iterdir()))
    and "--touch" not in sys.argv
):
    raise WorkflowError(
        f"{CONFIG.paths.results}/ has results, but .snakemake/, which says how they were made, is not beside it: "
        "move it here too, remove the results, or vouch for them with --touch"
    )

# Where steps keep their resume state may change without any result changing, so it is not a parameter:
# scripts read it from the configuration.
config["paths"] = CONFIG.paths.model_dump()

# Large arrays come and go at every step of a training. Left to itself the C library gives their memory back to
# the system each time, and asks for it again page by page. Read by glibc at a job's start.
os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**33))
os.environ.setdefault("MALLOC_TOP_PAD_", str(2**26))

# Results that may be shared between folders are kept where this variable says, when --cache is given.
SHARED = os.environ.get("SNAKEMAKE_OUTPUT_CACHE", "") if workflow.enable_cache else ""
config["paths"]["downloads"] = SHARED or CONFIG.paths.resources

STARTED = time.time()
KILLED = f"was killed before it could say why, most often for want of memory; {KEPT}"

# Thousands of jobs are millions of objects that live to the end: not to look through them for garbage at every 700 new
# ones makes their plan quicker.
gc.set_threshold(200_000, 10, 10)

# Of the jobs between collisions and a trained network, which nearly all others wait for; then of those up to a tuned
# language model, whose chain would have one core work alone at the end if it began late.
FIRST, SOON = 2, 1

SPLITS = ("train", "validation", "test")
ENVIRONMENT = text_digest(BASE / "requirements.txt")


def spec(name, section, files=()):
    """All that decides a rule's result beside its inputs: parameters, code, environment.

    One dict, since Snakemake compares the values of `params` without their names. Of `files`, which no rule
    makes, it holds the fingerprints: Snakemake looks at the content of newer files only, so that a file
    replaced by an older one would not be seen, nor would two that swap their names.
    """
    values = section if isinstance(section, dict) else section.model_dump(mode="json")
    marks = {"files": {str(path): fingerprint(path) for path in files}} if files else {}
    code = code_digest(BASE / "workflow" / "scripts" / f"{name}.py")
    return {"section": values, "code": code, "environment": ENVIRONMENT} | marks


def shared_spec(folder, *what):
    """The spec of a step whose files may be shared: with folders only where they have the same place.

    Their sidecars name it.
    """
    return spec(*what) | {"place": folder}


def recorded(**outputs):
    """Outputs, each with its sidecar."""
    sidecars = {
        f"{name}_sidecar": str(sidecar_path(path)) for name, path in outputs.items()
    }
    return outputs | sidecars


def drawn(folder, *names):
    """Figures as PNG, which Snakemake's report shows, and as PDF, each with its sidecar."""
    shown = {f"{n}_png": captioned(f"{folder}/{n}.png", n) for n in names}
    return recorded(**shown, **{f"{n}_pdf": f"{folder}/{n}.pdf" for n in names})


def captioned(path, name):
    """An output for Snakemake's report, with its caption, in the category of the folder that the caption lies in."""
    found = [*(BASE / "workflow" / "report").glob(f"*/{name}.rst")]
    if len(found) != 1:
        raise WorkflowError(f"{path}: write one workflow/report/STAGE/{name}.rst")
    stage = found[0].parent.name
    return report(
        path,
        caption=f"../workflow/report/{stage}/{name}.rst",
        category=stage.replace("-", " "),
        labels={w: f"{{{w}}}" for w in re.findall(r"{(\w+)}", path)} | {"shows": name},
    )


def one_of(names):
    """Pattern of a wildcard that takes these names only; without names it takes nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


def trained():
    """Runs that are trained here."""
    return [run for run, settings in CONFIG.part.items() if not settings.weights]


def imported():
    """Runs whose weights are imported."""
    return [run for run, settings in CONFIG.part.items() if settings.weights]


def weights_file(weights):
    """File of weights to import: the user's, or the published one, downloaded."""
    folder = weights.folder or "<resources>/weights"
    return f"{folder}/{weights.name}.pt"


def import_section(run):
    """Parameters of an import: what weights do not tell of a model is configured."""
    settings = CONFIG.part[run].model_dump(mode="json")
    return {name: settings[name] for name in ("weights", "model")}


def given_weights(run):
    """The user's own file of weights, if it is one."""
    weights = CONFIG.part[run].weights
    return [weights_file(weights)] if weights.folder else []


def shape_file(run):
    """File that tells a network's shape where the configuration does not."""
    return [f"<results>/part/{run}/config.json"] if run in imported() else []


def start_files(run):
    """Files of the model that a run starts from."""
    start = CONFIG.part[run].start_from
    folder = f"<results>/part/{start}" if start in CONFIG.part else start
    return [
        f"{folder}/{name}" for name in ("model.safetensors", "config.json") if start
    ]


def given_start(run):
    """Files of the user's own model that a run starts from, if it is one."""
    return [] if CONFIG.part[run].start_from in CONFIG.part else start_files(run)


def growth_section(run):
    """What the figure of growth says of a training: jets a step, and the network that it starts from."""
    own = CONFIG.part[run]
    return {"batch_size": own.training.batch_size, "start_from": own.start_from}


def networks():
    """Trained networks and, beside each, its untrained twin."""
    return [*CONFIG.part, *(f"{run}-untrained" for run in CONFIG.part)]


def compressed_parts():
    """Compressed models whose base is a Particle Transformer."""
    return [m for m, c in CONFIG.compress.items() if c.base in CONFIG.part]


def compressed_language():
    """Compressed models whose base is a language model."""
    return [m for m, c in CONFIG.compress.items() if c.base in CONFIG.language]


@cache
def runs_of(model):
    """Settings of every run of a compressed model by its name: method, keep ratio and seed."""
    return CONFIG.compress[model].runs()


def all_variants():
    """Names of the runs of all compressed models."""
    return list(dict.fromkeys(v for model in CONFIG.compress for v in runs_of(model)))


def note_of(model):
    """What is said beside every number of a compressed model: "stand-in", "trained here"."""
    language = CONFIG.language.get(CONFIG.compress[model].base)
    return language.note if language else ""


def all_cores():
    """Threads of a job that has a machine to itself.

    The cores given to Snakemake; on a cluster, where those are of many machines, `max-threads` of the profile.
    """
    return workflow.resource_settings.max_threads or workflow.cores


def half_of_cores():
    """Threads of a job that is not timed.

    Two jobs side by side leave no core idle while one of them starts, reads, or computes on one core. A cluster
    finds its own neighbours for a job.
    """
    return workflow.resource_settings.max_threads or max(1, workflow.cores // 2)


def threads_of_training(run):
    """Threads of a training: half of the cores for one process, which works on few jets at a time, all for more."""
    one = CONFIG.part[run].training.processes == 1
    return half_of_cores() if one else all_cores()


def gpus(computed, processes=1):
    """GPUs that a job asks for; on `auto` it takes what it finds, and waits for none."""
    return processes if computed.device == "cuda" else 0


def gpus_of_training(run):
    """GPUs of a training: one a process."""
    training = CONFIG.part[run].training
    return gpus(training, training.processes)


def threads_of(language):
    """Threads of a language model's jobs."""
    return CONFIG.language[language].threads or half_of_cores()


def memory_of(language):
    """Memory of a language model's jobs, in MB."""
    return CONFIG.language[language].memory


def memory_of_base(model):
    """Memory of a job on the dense model that a compressed one is made from, of jets or of language, in MB."""
    base = CONFIG.compress[model].base
    return memory_of(base) if base in CONFIG.language else 4000


def of_variants(model, name):
    """A file of every run of a compressed model."""
    return [f"<results>/lowrank/{model}/{variant}/{name}" for variant in runs_of(model)]


@cache
def shown_variant(model):
    """The run whose ranks, spectra and times the report shows: one that learns its ranks, if any does."""
    return CONFIG.compress[model].shown()


def learned_outputs():
    """What every run of rank learning leaves."""
    folder = "<results>/lowrank/{model}/{variant}"
    names = ("model.safetensors", "config.json", "ranks.parquet", "history.parquet")
    return recorded(**{name.partition(".")[0]: f"{folder}/{name}" for name in names})


def size_column(model):
    """Column of the size that keep ratios are of.

    Matrices of one time differ a little in their parameters, which is what is left to see of them.
    """
    of = CONFIG.compress[model].learning.of
    return "keep_linears" if of == "time" else f"keep_{of}"


def drawing_section(model):
    """What figures of a compressed model say of it, and the size that its keep ratios are of."""
    compression = CONFIG.compress[model]
    language = CONFIG.language.get(compression.base)
    title = f"{model}, {language.task}" if language else f"{model}, {dataset_of(model)}"
    units = ("windows", "tokens") if language else ("jets", "particles")
    return {"title": title, "size": size_column(model), "units": units}


def learns_ranks(model):
    """Whether a compressed model has a run that learns its ranks, which the joined analyses are about."""
    return any(run.method in LEARNED for run in runs_of(model).values())


def timed_outputs():
    """What every measurement of time leaves."""
    stem = "<results>/latency/{model}/{variant}"
    return recorded(samples=f"{stem}.parquet", ratios=f"{stem}-ratios.parquet")


def base_files(model):
    """Files of the dense model that a compressed one is made from, of jets or of language."""
    base = CONFIG.compress[model].base
    if base in CONFIG.language:
        return language_files(base)
    folder = f"<results>/part/{base}"
    return {"model": f"{folder}/model.safetensors", "config": f"{folder}/config.json"}


def dense_files(model):
    """The same, named as the other side of a measurement."""
    return {f"dense_{name}": path for name, path in base_files(model).items()}


def with_batches_of(run, size):
    """A run's settings with another batch size, which is that of what it is measured against."""
    training = run.training.model_copy(update={"batch_size": size})
    return run.model_copy(update={"training": training})


def family_of(model):
    """Family of a compressed model."""
    language = CONFIG.language.get(CONFIG.compress[model].base)
    return language.family if language else "part"


def crossover_section(model):
    """Parameters of the measurement of times by rank."""
    own = CONFIG.latency.model_dump(
        mode="json", include={"rows", "precision", "samples", "noise"}
    )
    learning = CONFIG.compress[model].learning
    return own | {
        "family": family_of(model),
        "multiple": learning.rank_multiple,
        "form": learning.form,
        "leave_dense": list(learning.leave_dense),
    }


def crossover_file(model):
    """Times by rank of a model whose keep ratios are of time."""
    timed = CONFIG.compress[model].learning.of == "time"
    return [f"<results>/latency/{model}/crossover.parquet"] if timed else []


def latency_section(model):
    """Parameters of the measurement of a language model: what is read at a time comes from its task."""
    task = CONFIG.tasks[CONFIG.language[CONFIG.compress[model].base].task]
    return {
        "latency": CONFIG.latency.model_dump(
            mode="json", exclude={"batches", "rows", "precision"}
        ),
        "length": task.length,
        "family": family_of(model),
    }


def learning_section(wildcards):
    """Parameters of one run of rank learning."""
    compression = CONFIG.compress[wildcards.model]
    run = runs_of(wildcards.model)[wildcards.variant]
    return {"base": compression.base, "learning": run.model_dump(mode="json")}


def part_section(wildcards):
    """The same of a Particle Transformer, and where that comes from."""
    own = CONFIG.part[CONFIG.compress[wildcards.model].base]
    origin = own.model_dump(mode="json", include={"dataset", "start_from", "weights"})
    stated = {"licence": own.licence(), "origin": origin}
    return learning_section(wildcards) | stated


def comparing_section(model):
    """Parameters of a comparison of methods: the runs, and the task, which decides what is measured."""
    compression = CONFIG.compress[model]
    language = CONFIG.language.get(compression.base)
    task = CONFIG.tasks[language.task].name if language else None
    names = {"method", "keep", "seed"}
    runs = {v: r.model_dump(include=names) for v, r in runs_of(model).items()}
    return {"task": task, "runs": runs, "size": size_column(model)}


def dataset_of(model):
    """Dataset that a compressed Particle Transformer was trained on."""
    return CONFIG.part[CONFIG.compress[model].base].dataset


def text_file(language, split):
    """Text of the task of a language model."""
    return f"<results>/text/{CONFIG.language[language].task}/{split}.parquet"


def language_files(language, folder=""):
    """Files of a dense language model by name, before its training (folder "start/") or after it."""
    names = (
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    )
    return {
        name.partition(".")[0]: f"<results>/language/{language}/{folder}{name}"
        for name in names
    }


def language_section(language):
    """Parameters of a language model's weights and tokenizer."""
    model = CONFIG.language[language]
    names = {"family", "weights", "tokenizer", "architecture"}
    section = model.model_dump(mode="json", include=names)
    task = CONFIG.tasks[model.task]
    return section | {
        "seed": model.tuning.seed,
        "task": task.name,
        "length": task.length,
    }


def dense_section(language):
    """Parameters of a dense language model that a compressed one states."""
    model = CONFIG.language[language]
    names = {"family", "licence", "weights"}
    task = CONFIG.tasks[model.task].model_dump(mode="json")
    return model.model_dump(mode="json", include=names) | {"task": task}


def tuning_sections(language):
    """Parameters of a language model's training and evaluation on its task."""
    model = CONFIG.language[language]
    section = model.model_dump(mode="json", include={"family", "tuning"})
    return section | {"task": CONFIG.tasks[model.task].model_dump(mode="json")}


def source_name(source):
    """Name of what a source downloads."""
    if source.hub:
        asked = [re.sub(r"[^\w.-]+", "-", part) for part in (source.hub, *source.files)]
        return "-".join([*asked, source.revision])
    return source.package


def downloads():
    """Sources that are downloaded, by name, and what of the hub they are."""
    texts = [
        (s, "dataset") for t in CONFIG.tasks.values() for s in (t.source, t.training)
    ]
    models = [
        (s, "model") for m in CONFIG.language.values() for s in (m.weights, m.tokenizer)
    ]
    return {
        source_name(s): {"source": s.model_dump(mode="json"), "kind": kind}
        for s, kind in texts + models
        if s and not s.folder
    }


def resolved(source, where):
    """Files of a folder of the user's, or the list of what was downloaded; nothing where there is no source."""
    if source is None:
        return []
    if not source.folder:
        return [f"<resources>/sources/{source_name(source)}.json"]
    files = sorted(path for path in Path(source.folder).rglob("*") if path.is_file())
    if not files:
        raise WorkflowError(f"configuration: {where}: no file is in {source.folder}")
    return usable(map(str, files), where)


def usable(paths, where):
    """Paths, none with signs that Snakemake reads as its own."""
    paths = list(paths)
    for path in paths:
        if re.search("[<>{}]", path) or not path.isprintable():
            problem = "has < > { } or a line end in its name; rename it"
            raise WorkflowError(f"configuration: {where}: {path!r} {problem}")
    return paths


def given_source(*sources):
    """Files of sources that are folders of the user's."""
    return [path for s in sources if s and s.folder for path in resolved(s, s.folder)]


MOST_SHARDS = 10_000
TEST_SEED = 800_001  # beyond every seed that the configuration allows


def simulation_job(process, jets, shards, shard, seed):
    """Parameters of one simulation job; what is left after an even share goes to the first shards."""
    share = len(range(shard, jets, shards))
    return {"process": process, "jets": share, "seed": seed * MOST_SHARDS + shard}


def tuning_section():
    """Parameters of fine-tuning with top-k attention."""
    fields = {"class_blocks", "steps", "batch_size", "learning_rate", "seed"}
    return CONFIG.topk.model_dump(mode="json", include=fields)


def tuned_files(run, name):
    """A file of a run fine-tuned with all of its attention and with each top-k; none where none is asked for."""
    kept = ["all", *CONFIG.topk.tuned] if CONFIG.topk.tuned else []
    return [f"<results>/topk/{run}/top-{k}/{name}" for k in kept]


def simulation_spec(section, wildcards):
    """What decides a simulated file."""
    place = f"{CONFIG.paths.resources}/simulated/{wildcards.dataset}"
    return shared_spec(place, "simulate", section(wildcards))


def simulation_section(wildcards):
    """Parameters of a job that simulates a shard of a class."""
    simulation = CONFIG.datasets[wildcards.dataset].simulation
    jets, shards = simulation.jets_per_class, simulation.shards
    shard = int(wildcards.shard)
    return simulation_job(wildcards.process, jets, shards, shard, simulation.seed)


def test_section(wildcards):
    """Parameters of a job that simulates jets of a class for the test split only."""
    settings, process = CONFIG.datasets[wildcards.dataset], wildcards.process
    seed = settings.simulation.seed + TEST_SEED
    jets, shards = test_jets(settings, process), test_shards(settings, process)
    return simulation_job(process, jets, shards, int(wildcards.shard), seed)


def test_jets(settings, process):
    """Jets of a class that are simulated for the test split of a dataset only."""
    return settings.further_test.get(process, 0)


def test_shards(settings, process):
    """Jobs that share the jets of a class for the test split of a dataset only."""
    return min(settings.simulation.shards, test_jets(settings, process))


def conversion_section(dataset):
    """Parameters of a conversion: what its simulation is made by shows in its input."""
    return CONFIG.datasets[dataset].model_dump(
        mode="json", exclude={"simulation", "files", "reference", "further_test"}
    )


def conversion_spec(dataset):
    """What decides a conversion: parameters, code and the files, if they are not simulated here."""
    simulated = CONFIG.datasets[dataset].source == "simulation"
    files = [path for paths in source_files(dataset).values() for path in paths]
    place = [f"{CONFIG.paths.results}/jets/{dataset}", CONFIG.paths.resources]
    section = conversion_section(dataset)
    return shared_spec(place, "convert", section, [] if simulated else files)


def jet_files(dataset, *splits):
    """Parquet files of a dataset's splits."""
    files = range(CONFIG.datasets[dataset].files_per_split)
    return [
        f"<results>/jets/{dataset}/{split}_{i}.parquet"
        for split in splits
        for i in files
    ]


def source_files(dataset):
    """Files that a dataset is converted from: `shared` out over the splits, or all of one split."""
    settings = CONFIG.datasets[dataset]
    if settings.source == "simulation":
        return simulated_files(dataset, settings)
    where = f"datasets.{dataset}"
    if not any(settings.splits.given):
        return {"shared": matching(settings.files, f"{where}.files")}
    return {
        split: matching(getattr(settings.splits, split), f"{where}.splits.{split}")
        for split in SPLITS
    }


def simulated_files(dataset, settings):
    """ROOT files of a simulated dataset, and those of its test split only."""
    folder = f"<resources>/simulated/{dataset}"
    shards = range(settings.simulation.shards)
    return {
        "shared": [f"{folder}/{name}_{i}.root" for name in CLASSES for i in shards],
        "test": [
            f"{folder}/{name}_test_{i}.root"
            for name in CLASSES
            for i in range(test_shards(settings, name))
        ],
    }


def bench_source(dataset):
    """A file for the bench of the readers, in the dataset's format."""
    if CONFIG.datasets[dataset].source == "simulation":
        return "<resources>/simulated/for-bench.root"
    return [path for paths in source_files(dataset).values() for path in paths][0]


def sidecars(paths):
    """Sidecars of these files."""
    return [str(sidecar_path(path)) for path in paths]


def ranked_sidecars(model):
    """Sidecars of what a run of rank learning and its evaluation leave."""
    folder = f"<results>/lowrank/{model}/{shown_variant(model)}"
    names = ["model.safetensors", "config.json", "ranks.parquet", "history.parquet"]
    names += ["examples.parquet", "cost.parquet"]
    return sidecars(f"{folder}/{name}" for name in names)


def matching(patterns, where):
    """Files that these globs match."""
    files = sorted(str(path) for glob in patterns for path in glob_paths(glob))
    if not files:
        raise WorkflowError(f"configuration: {where}: no file matches {list(patterns)}")
    return usable(files, where)


def glob_paths(pattern):
    """Files that a glob matches; the pattern may be absolute."""
    path = Path(pattern)
    return Path(path.anchor).glob(str(path.relative_to(path.anchor)))


FIGURES = {
    "{dataset}": ["jets"],
    "{compared}": ["comparison"],
    "{trained}": ["history"],
    "{trained}/{of}": ["growth"],
    "{run}": ["confusion", "roc"],
    "{run}/{dataset}": [
        "shares",
        "heads",
        "choices",
        "multiplicity",
        "parts",
        "maps",
        "pairs",
        "weights",
    ]
    + ["focus", "focus_layers", "subjets", "partners", "attribution"]
    + ["distance", "planes", "planes_layers"]
    + ["probes", "probes_within", "correlations"]
    + ["interventions", "silenced", "topk"],
    "{model}": ["pareto"],
    "{joined}": ["joined"],
    "{model}/{shown}": ["ranks", "spectra", "budget", "latency"],
}
TABLES = {
    "jets/{dataset}": ["counts", "rejected"],
    "jets/{compared}": ["comparison"],
    "part/{other}": ["against-{reference}"],
    "part/{trained}": ["history"],
    "statistics/{trained}/{of}": ["growth"],
    "part/{run}": ["metrics", "pair_forms"],
    "statistics/{run}/{dataset}": ["binary", "parts", "interventions", "topk"]
    + ["focus", "partners", "distance", "planes"]
    + ["probes", "correlations"],
    "attention/{run}/{dataset}": ["jets"],
    "lowrank/{model}": ["comparison", "removed"],
    "lowrank/{joined}": ["attention"],
    "lowrank/{model}/{shown}": ["ranks", "history"],
    "latency/{model}": ["{shown}-ratios"],
    "language/{language}": ["metrics"],
}


# Folders of what the report shows of each stage, by the stage's target.
STAGES = {
    "jets": ["jets/{dataset}", "jets/{compared}", "figures/{dataset}"]
    + ["figures/{compared}"],
    "train": ["part/{trained}", "part/{run}", "part/{other}"]
    + ["figures/{trained}", "figures/{run}"],
    "attention": ["attention/{run}/{dataset}", "explorer/{run}"],
    "interpret": ["statistics/{trained}/{of}", "statistics/{run}/{dataset}"]
    + ["figures/{trained}/{of}", "figures/{run}/{dataset}"],
    "language": ["language/{language}"],
    "compress": ["lowrank/{model}", "lowrank/{joined}", "lowrank/{model}/{shown}"]
    + ["figures/{model}", "figures/{joined}"],
    "latency": ["latency/{model}", "figures/{model}/{shown}"],
}


def report_inputs():
    """Everything that the report shows: all figures and the tables behind its numbers."""
    return filled_in(shown_paths())


def stage_files(stage):
    """What the report shows of a stage."""
    folders = STAGES[stage]
    return filled_in(p for p in shown_paths() if p.rpartition("/")[0] in folders)


def shown_paths():
    """Paths below results/ of what the report shows, with names to be filled in."""
    paths = [
        f"figures/{folder}/{name}.png"
        for folder, names in FIGURES.items()
        for name in names
    ]
    paths += [
        f"{folder}/{name}.parquet" for folder, names in TABLES.items() for name in names
    ]
    return [*paths, "explorer/{run}/{dataset}.html", "part/{run}/config.json"]


def filled_in(paths):
    """Files that these paths name, for every dataset, run and model that the report is about."""
    subjects = report_subjects()
    # A path is filled in by those subjects that have exactly the names it asks for.
    found = [
        path.format(**{name: subject[name] for name in wanted})
        for path in paths
        for wanted in [set(re.findall(r"{(\w+)}", path))]
        for subject in subjects
        if wanted <= set(subject)
    ]
    return [f"<results>/{path}" for path in dict.fromkeys(found)]


def report_subjects():
    """What the report is about: names for what stands in braces in the paths of what it shows."""
    runs = CONFIG.part.items()
    datasets = CONFIG.datasets.items()
    subjects = [{"run": run, "dataset": settings.dataset} for run, settings in runs]
    subjects += [{"trained": run, "of": CONFIG.part[run].dataset} for run in trained()]
    subjects += [{"dataset": dataset} for dataset in CONFIG.datasets]
    subjects += [{"compared": name} for name, s in datasets if s.reference]
    subjects += [{"model": m, "shown": shown_variant(m)} for m in CONFIG.compress]
    subjects += [{"joined": m} for m in compressed_parts() if learns_ranks(m)]
    subjects += [{"language": language} for language in CONFIG.language]
    return subjects + [pair.model_dump() for pair in CONFIG.comparisons]


def report_section():
    """What the report is about: the parts of the configuration that it tells."""
    return {
        "datasets": {
            name: s.model_dump(mode="json") for name, s in CONFIG.datasets.items()
        },
        "part": {name: s.model_dump(mode="json") for name, s in CONFIG.part.items()},
        "tasks": {name: s.model_dump(mode="json") for name, s in CONFIG.tasks.items()},
        "language": {
            name: s.model_dump(mode="json") for name, s in CONFIG.language.items()
        },
        "compress": {
            name: s.model_dump(mode="json")
            | {"shown": shown_variant(name), "note": note_of(name)}
            for name, s in CONFIG.compress.items()
        },
        "comparisons": [pair.model_dump(mode="json") for pair in CONFIG.comparisons],
        "attention": CONFIG.attention.model_dump(mode="json"),
    }


def sidecars_of_report():
    """Sidecars of the report and of what it shows."""
    return sidecars([*report_inputs(), "<results>/report.html"])


def crate_section():
    """What goes into the research object beside the results: the workflow's main file and all settings."""
    return {
        "snakefile": (BASE / "Snakefile").read_text(encoding="utf-8"),
        "configuration": CONFIG.model_dump(mode="json", exclude={"paths"}),
    }


def print_input_errors():
    """Repeat, as the last lines, what the failed steps said to the user; name those that could say nothing."""
    for path in sorted(Path(CONFIG.paths.logs).rglob("*.log")):
        if path.stat().st_mtime < STARTED:
            continue
        text = path.read_text(errors="replace")
        said = [line for line in text.splitlines() if " ERROR " in line]
        said = [line.split(" ERROR ", 1)[1] for line in said]
        if not said and not text.endswith(f"{DONE}\n"):
            said = [KILLED]
        for line in said:
            print(f"softjet: {line} (log: {path})", file=sys.stderr)


def drop_timers():
    """Cancel the timers that Snakemake's scheduler has set (`max-jobs-per-timespan`): it waits for them at its end."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def hold_folder():
    """Let no other workflow start in this folder; Snakemake's own lock is not taken at once."""
    handle = os.open(".snakemake", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError(
            f"another workflow is under way in {Path.cwd()}; wait until it ends, or use another folder:"
            " --directory FOLDER --configfile config/config.yaml"
        )
    except OSError:
        pass  # a file system without such locks
