"""The report of a finished workflow: its chapters, in order."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from softjet.config.lowrank import LEARNED
from softjet.figures.chapters.attention import attention_parts
from softjet.figures.chapters.comparison import by_name, comparison_parts
from softjet.figures.chapters.compression import compression_parts
from softjet.figures.chapters.focus import focus_parts
from softjet.figures.chapters.found import find_most_important
from softjet.figures.chapters.headline import headline_parts
from softjet.figures.chapters.interventions import intervention_parts
from softjet.figures.chapters.joined import joined_parts
from softjet.figures.chapters.language import HEADING as LANGUAGE
from softjet.figures.chapters.language import language_parts
from softjet.figures.chapters.making import commit_name, provenance_parts
from softjet.figures.chapters.observables import observable_parts
from softjet.figures.chapters.shared import Sentences, Settings, shown_run
from softjet.figures.chapters.simulation import dataset_parts
from softjet.figures.chapters.speed import speed_parts
from softjet.figures.chapters.training import training_parts
from softjet.figures.report import Part, Section, write_report
from softjet.provenance.sidecar import git_state, host

Chapter = tuple[str, Mapping[str, Any], Callable[[Path, str, Any], Iterator[Part]]]
"""Heading, what it is about by name, and what writes of one of these; without any the chapter is left out."""


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
        Sections `datasets`, `part`, `tasks`, `language`, `comparisons`, `attention` and `compress` of the
        configuration, the last with `shown` (the run that is shown in detail) and `note`.
    attention : mapping
        What the statistics of attention say: by name of the run, sentences by the figure that shows it.
    """
    results = Path(results)
    sections = [
        Section(heading, [part for name, own in subjects.items() for part in write(results, name, own)])
        for heading, subjects, write in _chapters(settings, attention)
        if subjects
    ]
    sections.append(Section("How this was made", list(provenance_parts(results, settings))))
    findings = list(find_most_important(results, settings, attention))
    write_report(target, _title(settings), _lead(settings), findings, sections)


def _chapters(settings: Settings, attention: Mapping[str, Sentences]) -> list[Chapter]:
    by_family = {"all": settings} if _learned(settings) else {}
    language = {"all": settings} if settings["language"] else {}
    return [
        ("Simulation" if _simulated(settings) else "Jets", settings["datasets"], dataset_parts),
        ("Training", settings["part"], training_parts),
        ("Comparison", by_name(settings["comparisons"]), comparison_parts),
        ("Attention", settings["part"], lambda r, run, s: attention_parts(r, run, s, attention[run])),
        ("Focus", settings["part"], focus_parts),
        ("Traditional observables", settings["part"], observable_parts),
        ("Interventions", settings["part"], intervention_parts),
        (LANGUAGE, language, lambda r, _, s: language_parts(r, s)),
        ("Fewer parameters", settings["compress"], compression_parts),
        ("Which physics goes first", _joined(settings), joined_parts),
        ("Speed", settings["compress"], speed_parts),
        ("Half of the parameters", by_family, lambda r, _, s: headline_parts(r, s)),
    ]


def _learned(settings: Settings) -> dict[str, Settings]:
    """Compressed models whose ranks were learned."""
    return {model: own for model, own in settings["compress"].items() if shown_run(own)[0] in LEARNED}


def _joined(settings: Settings) -> dict[str, Settings]:
    """Compressed Particle Transformers whose attention was read."""
    return {model: own for model, own in _learned(settings).items() if own["base"] in settings["part"]}


def _simulated(settings: Settings) -> bool:
    """Whether some of the jets were simulated here."""
    return any(dataset["source"] == "simulation" for dataset in settings["datasets"].values())


def _title(settings: Settings) -> str:
    part, language, compress = (settings[name] for name in ("part", "language", "compress"))
    if not part:
        well = "How well language models do" if language else "What jets there are"
        return "How small transformers can be" if compress else well
    if any(own["base"] in part for own in compress.values()):
        other = ", and how small it can be"
    elif compress:
        other = ", and how small language models can be"
    else:
        other = ", and how well language models do" if language else ""
    return f"What Particle Transformer attends to{other}"


def _lead(settings: Settings) -> str:
    machine = host()
    return (
        f"{_done(settings)}, in one workflow. Written on {datetime.now(UTC):%Y-%m-%d} on a machine with "
        f"{machine['cores']} cores ({machine['processor']}), from commit {commit_name(git_state())}."
    )


def _done(settings: Settings) -> str:
    """What the workflow did, from the first stage to the last."""
    ranks = "learned ranks" if _learned(settings) else "fewer parameters"
    start = "simulated collisions" if _simulated(settings) else "files of jets"
    if not settings["part"]:
        language = (
            "Language models on their tasks" if settings["language"] else f"From {start} to their tables"
        )
        return f"Language models, {ranks} and time" if settings["compress"] else language
    trained = any(not run["weights"] for run in settings["part"].values())
    weights = "training" if trained else "imported weights"
    end = f", attention and {ranks} to time" if settings["compress"] else " to attention"
    beside = ", with language models beside jets" if settings["language"] else ""
    return f"From {start} through {weights}{end}{beside}"
