"""The chapters of the report: what each stage made, in words, tables and pictures."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from softjet.figures.focus_findings import focus_parts
from softjet.figures.growth import growth_sentence
from softjet.figures.intervention_findings import intervention_findings, topk_findings
from softjet.figures.observable_findings import correlation_findings, probe_findings
from softjet.figures.report import (
    Heading,
    Picture,
    Section,
    Table,
    Text,
    percent,
    with_interval,
    write_report,
)
from softjet.jets.schema import CLASSES
from softjet.provenance.sidecar import SUFFIX, git_state, host, read_sidecar

Part = Text | Heading | Picture | Table
Settings = Mapping[str, Any]
Sentences = Mapping[str, Sequence[str]]


def build_report(
    target: str | Path, results: str | Path, settings: Settings, attention: Mapping[str, Sentences]
) -> None:
    """Write the report of a finished workflow.

    Parameters
    ----------
    target : path
        The HTML file.
    results : path
        Folder of the workflow's results.
    settings : mapping
        Sections `datasets`, `part` and `attention` of the configuration, and `compress` by folder of the
        compressed model.
    attention : mapping
        What the statistics of attention say: by name of the run, sentences by the figure that shows it.
    """
    results = Path(results)
    chapters: list[tuple[str, Mapping[str, Any], Callable[[Path, str, Any], Iterator[Part]]]] = [
        ("Simulation", settings["datasets"], dataset_parts),
        ("Training", settings["part"], training_parts),
        ("Comparison", _pairs(settings["comparisons"]), comparison_parts),
        ("Attention", settings["part"], lambda r, run, s: attention_parts(r, run, s, attention[run])),
        ("Focus", settings["part"], focus_parts),
        ("Traditional observables", settings["part"], observable_parts),
        ("Interventions", settings["part"], intervention_parts),
        ("Compression", settings["compress"], compression_parts),
        ("Speed", settings["compress"], speed_parts),
    ]
    sections = [
        Section(heading, [part for name, own in subjects.items() for part in write(results, name, own)])
        for heading, subjects, write in chapters
        if subjects
    ]
    sections.append(Section("How this was made", list(provenance_parts(results, settings))))
    findings = list(find_most_important(results, settings, attention))
    write_report(
        target, "What Particle Transformer attends to, and how small it can be", _lead(), findings, sections
    )


def dataset_parts(results: Path, name: str, dataset: Settings) -> Iterator[Part]:
    """Jets of a dataset: counts by class and split, and their distributions."""
    counts = pd.read_parquet(results / "jets" / name / "counts.parquet")
    rejected = pd.read_parquet(results / "jets" / name / "rejected.parquet")
    yield Heading(f"Dataset {name}")
    yield Text(_origin(dataset) + f" {len(rejected)} jets were rejected in the conversion.")
    table = counts.pivot_table("jets", "class", "split", aggfunc="sum", fill_value=0)
    order = [split for split in ("train", "validation", "test", "rejected") if split in table]
    known = [name for name in CLASSES if name in table.index]
    table = table.loc[[*known, *sorted(set(table.index) - set(known))], order]
    table = pd.concat([table, table.sum().to_frame("all classes").T]).rename_axis("class").reset_index()
    yield Table(table, "Jets by class and split. Every jet read is in one split or listed as rejected.")
    yield Picture(
        results / "figures" / name / "jets.png",
        "Test jets of four classes. Peaks of the soft-drop mass stand at the W, Higgs and top masses while "
        "QCD "
        "falls; low tau2/tau1 marks two prongs, low tau3/tau2 three.",
    )
    if dataset["reference"]:
        yield Table(_comparison_rows(results / "jets" / name / "comparison.parquet"), _COMPARISON_CAPTION)
        yield Picture(results / "figures" / name / "comparison.png", "Simulated and published jets.")


_COMPARISON_CAPTION = (
    "Simulated and published jets: mean multiplicity with 95 % bootstrap intervals over jets, and "
    "Kolmogorov-Smirnov "
    "distances of jet mass and constituent pT with p-values (those of pT by shuffling whole jets)."
)


def _comparison_rows(path: Path) -> pd.DataFrame:
    rows = [
        {
            "class": row["class"],
            "simulated jets": row["n_simulated"],
            "published jets": row["n_reference"],
            "particles, simulated": f"{row['simulated']:.1f}",
            "published": _interval(row, "reference", 1),
            "ratio": _interval(row, "ratio", 2),
            "KS mass (p)": f"{row['mass_ks']:.3f} ({row['mass_p']:.2f})" if row["class"] != "all" else None,
            "KS pT (p)": f"{row['pt_ks']:.3f} ({row['pt_p']:.2f})" if row["class"] != "all" else None,
        }
        for row in _records(path)
    ]
    return pd.DataFrame(rows)


def _interval(row: Mapping[str, Any], name: str, digits: int) -> str:
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], digits=digits)


_FORMAT_NAMES = {
    "jetclass": "JetClass",
    "top_landscape": "the top landscape",
    "quark_gluon": "the quark-gluon dataset",
    "parquet": "Parquet",
}


def _origin(dataset: Settings) -> str:
    if dataset["source"] != "simulation":
        files = dataset["files"] or [name for names in dataset["splits"].values() for name in names]
        return f"Jets read from files of {_FORMAT_NAMES[dataset['source']]}: {', '.join(files)}."
    simulation, background = dataset["simulation"], dataset["test_background"]
    further = (
        f" Another {background} QCD jets are in the test split, for the rejections." if background else ""
    )
    return (
        f"{simulation['jets_per_class']} jets of each of JetClass's ten classes, simulated here: Pythia 8 "
        "at 13 TeV, the response of the CMS detector from JetClass's published card, anti-kT jets with "
        f"R = 0.8, 500 < pT < 1000 GeV and |eta| < 2, matched to the decay.{further}"
    )


def training_parts(results: Path, run: str, settings: Settings) -> Iterator[Part]:
    """Training and test metrics of a Particle Transformer."""
    folder, figures = results / "part" / run, results / "figures" / run
    metrics = pd.read_parquet(folder / "metrics.parquet")
    yield Heading(f"Particle Transformer {run}")
    yield Text(f"{_size(folder)} {_origin_of_weights(folder, settings)}")
    if not settings.get("weights"):
        yield Picture(figures / "history.png", "Loss and validation accuracy along the training.")
    yield Table(_metrics_rows(metrics), _METRICS_CAPTION)
    yield Picture(figures / "confusion.png", "Confusion matrix on test jets, percent of each true class.")
    yield Picture(
        figures / "roc.png",
        "Rejection of background jets against signal efficiency. Dotted where fewer than 50 of them survive, "
        "which is too few to quote a number.",
    )
    yield Text(_pair_forms(folder / "pair_forms.parquet"))


def _origin_of_weights(folder: Path, settings: Settings) -> str:
    if settings.get("weights"):
        notes = read_sidecar(folder / "model.safetensors")["notes"]
        return f"Its weights are imported, not trained here: {notes['source']}, SHA-256 {notes['sha256']}."
    history = pd.read_parquet(folder / "history.parquet")
    batch = settings["training"]["batch_size"]
    return (
        f"Trained for {len(history)} steps of about {batch} jets ({len(history) * batch} jets seen; the "
        f"published model saw 512 million) at {history.jets_per_second.median():.0f} jets a second. This is "
        "a short training: its numbers show that the chain works, not what the architecture can do."
    )


def _pair_forms(path: Path) -> str:
    rows = {(row["form"], row["against"]): row for row in _records(path)}
    swapped = rows["stable, float32", "published, float32"]
    published, stable = (rows[f"{form}, float32", "published, float64"] for form in ("published", "stable"))
    return (
        "The logarithm of the pair mass is rounding noise in float32 for close pairs and for a particle with "
        f"itself. On {swapped['n']} test jets its published form lies up to {published['largest']:.1e} from "
        f"float64 in a logit (median over jets {published['median']:.1e}), the stable form up to "
        f"{stable['largest']:.1e} (median {stable['median']:.1e}); changing one for the other changes "
        f"{percent(swapped['decisions'], 2)} of the decisions."
    )


def _pairs(comparisons: Sequence[Settings]) -> dict[str, Settings]:
    return {f"{pair['other']} against {pair['reference']}": pair for pair in comparisons}


def comparison_parts(results: Path, name: str, pair: Settings) -> Iterator[Part]:
    """Two runs on the same test jets."""
    names = {"reference": pair["reference"], "other": pair["other"]}
    table = pd.read_parquet(results / "part" / names["other"] / f"against-{names['reference']}.parquet")
    yield Heading(name)
    yield Table(_change_rows(table, names), _COMPARED_CAPTION)


_COMPARED_CAPTION = (
    "Two models on the same test jets; the interval is that of the change, by paired bootstrap over jets. "
    "For rejections the change is the ratio; where either model lets fewer than 50 background jets pass it "
    "is not measured."
)

_METRICS_CAPTION = (
    "Test metrics with 95 % intervals. Accuracy is that of equally many jets of each class. Rejection is "
    "1 / (share of background jets that pass) at the signal efficiency of the paper's table; with fewer than "
    "50 surviving jets it is not measured. Published: the full-size model of arXiv 2202.03772, on the "
    "benchmark's own test jets after its full training."
)


def _size(folder: Path) -> str:
    shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return (
        f"{shape['blocks']} particle and {shape['class_blocks']} class attention blocks, "
        f"{shape['embed_dims'][-1]} "
        f"wide, {shape['heads']} heads, {shape['n_features']} features a particle."
    )


def _metrics_rows(metrics: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "metric": _metric_name(row.metric),
            "class": row["class"],
            "value [95 % interval]": _too_few(row.note) if row.note else _rounded(row),
            "jets": row.n,
            "of them pass": "" if pd.isna(row.survivors) else int(row.survivors),
            "published": "" if pd.isna(row.published) else f"{row.published:g}",
        }
        for _, row in metrics.iterrows()
    ]
    return pd.DataFrame(rows)


def _too_few(note: str) -> str:
    """A note without the counts, which have columns of their own."""
    reason, _, needed = note.partition("; ")
    return f"{reason.partition(' (')[0]}: {needed.rstrip(')')}" if needed else note


def _rounded(row: pd.Series) -> str:
    return with_interval(row.value, row.low, row.high, digits=1 if row.metric.startswith("rej") else 3)


def _metric_name(name: str) -> str:
    kind, _, point = name.partition("_")
    if kind == "rejection":
        return f"rejection at {point} %"
    return {"auc": "AUC, macro one-versus-one"}.get(name, name)


def attention_parts(results: Path, run: str, settings: Settings, sentences: Sentences) -> Iterator[Part]:
    """What the attention of a run looks like and how binary it is."""
    dataset = settings["dataset"]
    figures = results / "figures" / run / dataset
    residual = read_sidecar(results / "attention" / run / dataset / "jets.parquet")["notes"][
        "largest_residual"
    ]
    yield Heading(f"Attention of {run} on test jets of {dataset}")
    yield Text(
        "Recorded for real particles only. On every batch the recorded weights were put back through "
        "values and "
        f"output projection and compared with the block's own output: {_residual(residual)}."
    )
    captions = {
        "shares": "How binary attention is: share of queries whose largest weight exceeds each threshold, "
        "by layer.",
        "heads": "Which heads are sharp: share of queries with one dominant weight, by layer and head.",
        "choices": "Whom the largest weight of a query is on, by layer.",
        "multiplicity": "How binary attention is, by the number of particles in the jet.",
        "parts": "QK against the pair bias U, by layer: how often each alone keeps the key of the largest "
        "weight, the mean largest weight it makes alone, and its share of the variance of the logits.",
        "weights": "All weights between real particles, against random logits and the untrained network.",
        "maps": "One jet, last layer: weights of each head, particles in order of pT.",
        "pairs": "Attention on the eta-phi plane: each line is a particle looking at another. Solid within "
        "a kT "
        "subjet, dotted between two.",
    }
    for name, caption in captions.items():
        yield from map(Text, sentences.get(name, ()))
        yield Picture(figures / f"{name}.png", caption)
        if name == "shares" and (figures / "growth.png").exists():
            yield from growth_parts(results, run, settings)
    yield Text(
        f"Every layer and head of the jets kept whole can be looked at in explorer/{run}/{dataset}.html, "
        "beside this report: a page that needs no network."
    )


def _residual(value: float) -> str:
    return f"they differ by {value:.1e} at most" if value else "they are equal to the last bit"


def growth_parts(results: Path, run: str, settings: Settings) -> Iterator[Part]:
    """How binary attention grows along the training of a run."""
    dataset, batch_size = settings["dataset"], settings["training"]["batch_size"]
    growth = pd.read_parquet(results / "statistics" / run / dataset / "growth.parquet")
    yield Text(growth_sentence(growth, batch_size))
    yield Picture(
        results / "figures" / run / dataset / "growth.png",
        "Binary attention along the training: share of queries above each threshold, from the untrained "
        "network to the last step, beside random logits of the same spread.",
    )


def observable_parts(results: Path, run: str, settings: Settings) -> Iterator[Part]:
    """Whether a run's states and attention know traditional observables of jets."""
    dataset = settings["dataset"]
    tables, figures = results / "statistics" / run / dataset, results / "figures" / run / dataset
    yield Heading(f"Does {run} know jet substructure?")
    yield Text(
        "Linear probes (ridge) are fitted on validation jets and tested on test jets. They read the mean "
        "state of a jet's particles after each layer, and the class token. Beside them stand the untrained "
        "network, simple inputs (mean and sum of each feature, multiplicity, jet pT), and the class alone."
    )
    yield from map(Text, probe_findings(pd.read_parquet(tables / "probes.parquet")))
    yield Picture(figures / "probes.png", "Linear probes of observables, by depth, over all jets.")
    yield Picture(figures / "probes_within.png", "The same within classes: class means are taken away.")
    yield from map(Text, correlation_findings(pd.read_parquet(tables / "correlations.parquet")))
    yield Picture(figures / "correlations.png", "Attention of each layer and observables, jet by jet.")


def intervention_parts(results: Path, run: str, settings: Settings) -> Iterator[Part]:
    """What becomes of a run's answer when its attention is cut, replaced, or kept to its largest weights."""
    dataset = settings["dataset"]
    tables, figures = results / "statistics" / run / dataset, results / "figures" / run / dataset
    interventions, topk = (pd.read_parquet(tables / f"{name}.parquet") for name in ("interventions", "topk"))
    yield Heading(f"Does the attention of {run} matter?")
    yield Text(
        "On test jets the attention weights of the particle blocks are changed between softmax and values; "
        "what is cut away is given to a query's other keys in proportion. Each change stands beside one that "
        "takes the same weight from every query by random edges. Intervals hold 95 %, paired, over jets."
    )
    yield from map(Text, intervention_findings(interventions))
    yield Picture(figures / "interventions.png", "What cut and replaced attention changes, by layer.")
    yield Picture(figures / "silenced.png", "Single heads silenced, less random edges of the same weight.")
    yield Heading(f"Using it: top-k attention of {run}")
    yield from map(Text, topk_findings(topk))
    yield Picture(
        figures / "topk.png",
        "Attention to the k largest weights of a query: accuracy, rejections and time against all weights.",
    )


def compression_parts(results: Path, folder: str, settings: Settings) -> Iterator[Part]:
    """Ranks learned, parameters kept, and what it costs in quality."""
    here, figures = results / "lowrank" / folder, results / "figures" / folder
    metrics, ranks, history = (
        pd.read_parquet(here / f"{name}.parquet") for name in ("metrics", "ranks", "history")
    )
    steps = history.groupby("phase", sort=False).size()
    yield Heading(f"{folder}, made from {settings['base']}")
    yield Text(
        f"Soft-threshold rank learning with a budget of {percent(settings['learning']['keep'], 0)} of "
        f"{settings['learning']['of']} parameters: "
        + ", ".join(f"{count} steps of {phase}" for phase, count in steps.items())
        + f". The mean rank of the {len(ranks)} matrices is {ranks['rank'].mean():.0f}, "
        f"{int(ranks.dense.sum())} of them stay dense."
    )
    yield Table(
        _kept_rows(_first_row(here / "metrics.parquet")),
        "Parameters kept, after rounding. The wording '50 %' may mean each.",
    )
    yield Table(_change_rows(metrics, {"dense": "dense", "compressed": "compressed"}), _CHANGE_CAPTION)
    captions = {
        "budget": "Parameters and loss along rank learning and recovery.",
        "ranks": "Rank that each matrix was given, relative to its full rank.",
        "spectra": "Singular values and the learned thresholds.",
    }
    yield from (Picture(figures / f"{name}.png", caption) for name, caption in captions.items())


_CHANGE_CAPTION = (
    "Dense against compressed on the same test jets; the interval is that of the change, by paired "
    "bootstrap over jets. "
    "For rejections the change is the ratio. The compressed model was trained longer than the dense one "
    "(learning and "
    "recovery), which can hide a loss: a dense reference with equal training is not part of this table."
)


def _kept_rows(row: pd.Series) -> pd.DataFrame:
    kept = {
        "compressed matrices": row.keep_linears,
        "all blocks": row.keep_blocks,
        "whole model": row.keep_total,
    }
    return pd.DataFrame({"of": kept.keys(), "kept": [percent(share, 2) for share in kept.values()]})


def _change_rows(metrics: pd.DataFrame, models: Mapping[str, str]) -> pd.DataFrame:
    """Rows of two models' metrics; `models` maps the columns of the two to the names they are shown by."""
    rows = [
        {
            "metric": _metric_name(row.metric),
            "class": row["class"],
            **{name: "" if row.note else f"{row[column]:.3f}" for column, name in models.items()},
            "change [95 % interval]": row.note or with_interval(row.change, row.low, row.high),
        }
        for _, row in metrics.iterrows()
    ]
    return pd.DataFrame(rows)


def speed_parts(results: Path, folder: str, settings: Settings) -> Iterator[Part]:
    """Time of the dense against the compressed model."""
    ratios = pd.read_parquet(results / "latency" / f"{folder}-ratios.parquet")
    yield Heading(f"{folder} against {settings['base']}")
    yield Text(
        "Forward passes, dense and compressed in turn in one process, order alternating; the ratio is the "
        "median over "
        "pairs of dense time over compressed time, with a bootstrap interval over pairs. Above 1 the "
        "compressed "
        "model is faster."
    )
    yield Table(
        _speed_rows(ratios),
        "A row a batch: jets a call, particles of its longest jet, pairs timed, multiply-accumulates "
        "of the linear layers (dense to compressed), median times and their ratio.",
    )
    yield Picture(results / "figures" / folder / "latency.png", "Every timed call, and the ratio.")


def _speed_rows(ratios: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "jets": row.batch,
            "particles": row.length,
            "threads": row.threads,
            "pairs": row.pairs,
            "MACs a jet [M]": f"{row.macs_a / row.batch / 1e6:.1f} to {row.macs_b / row.batch / 1e6:.1f}",
            "dense [ms]": f"{row.median_a / 1e6:.2f}",
            "compressed [ms]": f"{row.median_b / 1e6:.2f}",
            "ratio [95 %]": row.note or with_interval(row.ratio, row.low, row.high, digits=2),
        }
        for _, row in ratios.iterrows()
    ]
    return pd.DataFrame(rows)


def provenance_parts(results: Path, settings: Settings) -> Iterator[Part]:
    """Commit, machine, steps with their times, versions and configuration."""
    sidecars = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(results.rglob(f"*{SUFFIX}"))]
    steps = pd.DataFrame([{**s, "commit": _commit(s["commit"])} for s in sidecars])
    steps = steps.drop_duplicates(["rule", "started", "wall_seconds"]).sort_values("started")
    shown = steps[["rule", "started", "wall_seconds", "threads", "commit"]]
    last = sidecars[-1]
    machines = {f"{s['host']['processor']}, {s['host']['cores']} cores" for s in sidecars}
    yield Text(f"Machine: {'; '.join(sorted(machines))}. Commit of this report: {_commit(git_state())}.")
    yield Text(
        "Every file in results/ has a sidecar (.meta.json) with its digest, its inputs' digests, "
        "parameters, versions "
        "and machine."
    )
    yield Table(
        shown.rename(columns={"wall_seconds": "seconds", "started": "started (UTC)"}), "Steps", folded=True
    )
    versions = pd.DataFrame({"package": last["versions"].keys(), "version": last["versions"].values()})
    yield Table(versions, "Versions", folded=True)
    text = yaml.safe_dump(json.loads(json.dumps(settings)), sort_keys=False).splitlines()
    yield Table(
        pd.DataFrame({"configuration": [line.replace("  ", "\u2003") for line in text]}),
        "Configuration",
        folded=True,
    )


def _commit(state: Settings) -> str:
    if not state["id"]:
        return "no git checkout"
    return state["id"][:12] + (" with uncommitted changes" if state["dirty"] else "")


def find_most_important(
    results: Path, settings: Settings, attention: Mapping[str, Sentences]
) -> Iterator[str]:
    """One sentence a stage, numbers with intervals."""
    for run in settings["part"]:
        path = results / "part" / run / "metrics.parquet"
        accuracy, metrics = _first_row(path), pd.read_parquet(path, columns=["metric"])["metric"]
        classes = int((metrics == "accuracy").sum()) - 1  # the first is that over all
        yield (
            f"Particle Transformer ({run}) tells {classes} classes of jets apart with an accuracy of "
            f"{with_interval(accuracy.value, accuracy.low, accuracy.high)} on {accuracy.n} test jets "
            f"(guessing gives {1 / classes:.2f})."
        )
        yield attention[run]["shares"][-1]
        yield from _growth_finding(results, run, settings["part"][run])
    for folder, own in settings["compress"].items():
        row = _first_row(results / "lowrank" / folder / "metrics.parquet")
        yield (
            f"With learned ranks {own['base']} keeps {percent(row.keep_total)} of its parameters; accuracy "
            f"changes by {with_interval(row.change, row.low, row.high)} (paired, {row.n} jets), the gain of "
            f"{_steps(results, folder)} more training steps included."
        )
        yield from map(_speed_finding, _records(results / "latency" / f"{folder}-ratios.parquet"))


def _growth_finding(results: Path, run: str, own: Settings) -> Iterator[str]:
    """How attention grows, of a run that was trained here."""
    path = results / "statistics" / run / own["dataset"] / "growth.parquet"
    if path.exists():
        yield growth_sentence(pd.read_parquet(path), own["training"]["batch_size"])


def _steps(results: Path, folder: str) -> int:
    return len(pd.read_parquet(results / "lowrank" / folder / "history.parquet", columns=["step"]))


def _records(path: Path) -> list[dict[str, Any]]:
    return pd.read_parquet(path).to_dict("records")  # type: ignore[return-value]


def _first_row(path: Path) -> pd.Series:
    """The first row of a table of metrics, which is the accuracy over all classes."""
    return next(row for _, row in pd.read_parquet(path).iterrows())


def _speed_finding(row: Mapping[str, Any]) -> str:
    jets = "jet" if row["batch"] == 1 else "jets"
    what = f"With {row['batch']} {jets} a call on {row['threads']} threads"
    if row["note"]:
        return f"{what} the machine was too noisy to say which model is faster ({row['note']})."
    ratio = with_interval(row["ratio"], row["low"], row["high"], digits=2)
    return f"{what} the compressed model runs {ratio} times as fast as the dense one."


def _lead() -> str:
    machine = host()
    return (
        "From simulated collisions through training, attention and learned ranks to time, in one workflow. "
        f"Written on {datetime.now(UTC):%Y-%m-%d} on a machine with {machine['cores']} cores "
        f"({machine['processor']}), from commit {_commit(git_state())}."
    )
