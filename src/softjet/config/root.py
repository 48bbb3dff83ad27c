"""The whole configuration."""

import re
from typing import Any

from pydantic import Field, model_validator

from softjet.config.attention import Attention
from softjet.config.compare import Comparison
from softjet.config.interventions import Interventions, TopK
from softjet.config.jets import Dataset
from softjet.config.joined import Joined
from softjet.config.language import LanguageModel, Task, tasks_of
from softjet.config.latency import Latency
from softjet.config.lowrank import Compression
from softjet.config.observables import Observables
from softjet.config.part import ParTRun
from softjet.config.section import GivenPath, Section
from softjet.config.stand_ins import COMPRESS, LANGUAGE, TASKS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
"""Of a dataset, run, task or model: folders and files are named by it."""


class Paths(Section):
    """Folders, relative to the working directory; each may lie on a scratch disk."""

    results: GivenPath = "results"
    """What the workflow makes."""
    resources: GivenPath = "resources"
    """What is downloaded or simulated and can be made again."""
    state: GivenPath = ".state"
    """Saved states of long steps, from which a killed run goes on."""
    logs: GivenPath = "logs"
    """One log a job."""


NOT_OF_PART = {
    "embeddings": "Particle Transformer has no embedding tables; leave it false",
    "imitation": "Particle Transformer trains on rows, and its blocks answer on padded jets; leave it 0",
}
"""Settings of rank learning that are for language models, and why."""


class Config(Section):
    """The configuration of softjet; every key has a default."""

    paths: Paths = Paths()
    """Folders."""
    datasets: dict[str, Dataset] = Field({"simulated": Dataset(further_test={"QCD": 6000})})
    """Datasets by name."""
    part: dict[str, ParTRun] = Field({"reference": ParTRun()})
    """Particle Transformers by name."""
    comparisons: tuple[Comparison, ...] = ()
    """Pairs of Particle Transformers, `{reference: name, other: name}`, compared on the same test jets."""
    attention: Attention = Attention()
    """Attention recorded of every Particle Transformer."""
    observables: Observables = Observables()
    """States and attention of every Particle Transformer beside traditional jet observables."""
    interventions: Interventions = Interventions()
    """Attention of every Particle Transformer cut and replaced, to see what becomes of its answer."""
    topk: TopK = TopK()
    """Attention of every Particle Transformer to its largest weights alone."""
    tasks: dict[str, Task] = Field(TASKS)
    """Tasks of language models by name."""
    language: dict[str, LanguageModel] = Field(LANGUAGE)
    """Language models by name."""
    compress: dict[str, Compression] = Field(COMPRESS)
    """Rank learning by name of the compressed model."""
    joined: Joined = Joined()
    """Attention and probes of every compressed Particle Transformer beside the dense one."""
    latency: Latency = Latency()
    """Time measurement of every compressed model."""

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, values: Any) -> Any:
        """Leave out what a user's file sets to null: the only way to unname a default, or a section's all."""
        if not isinstance(values, dict):
            return values
        nothing: dict[str, Any] = {
            name: () if isinstance(field.default, tuple) else {} for name, field in cls.model_fields.items()
        }
        given = {k: nothing.get(k, {}) if value is None else value for k, value in values.items()}
        return {
            key: {n: v for n, v in value.items() if v is not None} if isinstance(value, dict) else value
            for key, value in given.items()
        }

    @model_validator(mode="after")
    def _names_are_plain(self) -> "Config":
        for section in ("datasets", "part", "tasks", "language", "compress"):
            for name in getattr(self, section):
                if not _NAME.fullmatch(name):
                    problem = (
                        "is no name: begin with a letter or digit, then also - _ . +, at most 64 characters"
                    )
                    raise ValueError(f"{section}: {name!r} {problem}")
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> "Config":
        for name, run in self.part.items():
            if run.dataset not in self.datasets:
                raise ValueError(f"part.{name}.dataset: no dataset is named {run.dataset!r}")
            self._check_start(name)
            if (twin := name.removesuffix("-untrained")) != name and twin in self.part:
                raise ValueError(f"part.{name}: is what the untrained twin of {twin!r} is called; rename it")
        for place, pair in enumerate(self.comparisons):
            self._check_comparison(f"comparisons.{place}", pair)
        for name, model in self.language.items():
            if model.task not in self.tasks:
                raise ValueError(f"language.{name}.task: no task is named {model.task!r}")
        for name, compression in self.compress.items():
            self._check_base(f"compress.{name}.base", compression.base)
        return self

    @model_validator(mode="after")
    def _families_do_their_tasks(self) -> "Config":
        for name, model in self.language.items():
            given, known = self.tasks[model.task].name, tasks_of(model.family)
            if given not in known:
                problem = f"{model.task!r} is {given}, and {model.family} does {', '.join(known)}"
                raise ValueError(f"language.{name}.task: {problem}; name a task of these")
        return self

    @model_validator(mode="after")
    def _asked_of_language_models_alone(self) -> "Config":
        for name, compression in self.compress.items():
            for setting, problem in NOT_OF_PART.items():
                if compression.base in self.part and getattr(compression.learning, setting):
                    raise ValueError(f"compress.{name}.learning.{setting}: {problem}")
        return self

    def _check_base(self, where: str, base: str) -> None:
        found = (base in self.part) + (base in self.language)
        if found != 1:
            problem = (
                "no run of part and no language model is"
                if not found
                else "both a run and a language model are"
            )
            raise ValueError(f"{where}: {problem} named {base!r}")

    def _check_start(self, name: str) -> None:
        """Follow what a run starts from to a run that is trained from random weights, or to a folder."""
        passed, start = [name], self.part[name].start_from
        while start in self.part:
            if start in passed:
                raise ValueError(f"part.{name}.start_from: {start!r} starts from itself")
            passed, start = [*passed, start], self.part[start].start_from
        if start and "/" not in start:
            raise ValueError(f"part.{passed[-1]}.start_from: {start!r} is no run, and no folder (with a /)")

    def _check_comparison(self, where: str, pair: Comparison) -> None:
        for run in (pair.reference, pair.other):
            if run not in self.part:
                raise ValueError(f"{where}: no run of part is named {run!r}")
        datasets = {self.part[run].dataset for run in (pair.reference, pair.other)}
        if len(datasets) > 1:
            raise ValueError(
                f"{where}: the runs are of {' and '.join(sorted(datasets))}; give runs of one dataset"
            )
