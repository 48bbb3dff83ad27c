"""Sections of the configuration about language models and their tasks."""

from typing import Literal, get_args

from pydantic import Field, model_validator

from softjet.config.section import Computed, GivenPath, Section

Classifier = Literal["bert", "mpnet"]
Family = Literal[Classifier, "gpt2", "llama", "mamba"]
SentenceTask = Literal["cola", "sst2", "mrpc", "qqp", "mnli", "qnli", "rte", "wnli"]
TextTask = Literal["wikitext2", "wikitext103", "text"]
TaskName = Literal[SentenceTask, TextTask]


def tasks_of(family: Family) -> tuple[str, ...]:
    """Names of the tasks that a family does: sentences are classified, or running text is continued."""
    return get_args(SentenceTask if family in get_args(Classifier) else TextTask)


class Source(Section):
    """Where weights, a tokenizer or text come from: a folder of the user's, the hub, or a package."""

    folder: GivenPath | None = None
    """Folder of the user's, in the hub's layout; used before anything else."""
    hub: str | None = Field(None, pattern=r"^[A-Za-z0-9][\w.-]*(/[\w.-]+)?$")
    """Name on the hub, owner/name; `revision` must be given with it."""
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")
    """Commit on the hub, 40 hexadecimal digits, so that the content cannot change."""
    files: tuple[str, ...] = ()
    """Patterns of the files asked of the hub, as sst2/*.parquet; none: all that cannot carry code."""
    package: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name of a package that carries it (docs/language.md lists them), for want of a folder and the hub."""

    @model_validator(mode="after")
    def _pinned(self) -> "Source":
        if not any((self.folder, self.hub, self.package)):
            raise ValueError("name a folder, a hub repository or a package")
        if self.hub and not self.folder and not self.revision:
            raise ValueError("revision: a hub repository needs its commit")
        return self


class Tuning(Computed):
    """Training of the dense model on its task."""

    steps: int = Field(300, ge=0)
    """Steps."""
    batch_size: int = Field(32, ge=1)
    """Sentences, or windows of text, a step."""
    learning_rate: float = Field(5e-5, gt=0)
    """Learning rate after its rise; it falls linearly to zero."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps over which it rises."""
    weight_decay: float = Field(0.01, ge=0)
    """Weight decay of matrices; offsets, norms and embeddings have none."""
    clip: float | None = Field(1.0, gt=0)
    """Largest norm of the gradient; null: any."""
    save_every: float = Field(60.0, gt=0)
    """Seconds between two saved states, from which a killed run goes on."""
    seed: int = Field(1, ge=0)
    """Seed of the order of examples, of dropout and of new weights."""


class Task(Section):
    """Text, and what is asked about it."""

    name: TaskName = "sst2"
    """A classification task of GLUE, WikiText, or text of your own (files named by their split)."""
    source: Source
    """Where the text comes from."""
    training: Source | None = None
    """Where the training text comes from, if not from `source`; validation text in it is left out."""
    length: int = Field(128, ge=8)
    """Most tokens of a sentence pair; tokens of a window of text, which is the context of a perplexity."""
    stride: int | None = Field(None, ge=1)
    """Tokens between two windows of text at evaluation; null: the length, windows that do not overlap."""
    lines: int | None = Field(None, ge=1)
    """First lines of running text that are learned from; null: all."""
    evaluate: int | None = Field(None, ge=1)
    """First examples of the validation (GLUE), windows of the test (WikiText) split that count; null: all."""

    @model_validator(mode="after")
    def _every_token_scored(self) -> "Task":
        if self.stride is not None and self.stride > self.length:
            raise ValueError("stride: is larger than length, so that tokens would never be scored")
        return self


class LanguageModel(Section):
    """A language model, dense, and the task it is trained and judged on."""

    family: Family
    """Architecture."""
    task: str
    """Name of the task, among `tasks`."""
    weights: Source | None = None
    """Where trained weights come from; null: random weights, trained here."""
    tokenizer: Source | None = None
    """Source of the tokenizer, if not `weights`; null for both: byte-level BPE, trained on the text."""
    architecture: dict[str, int | float | str | bool] = Field({})
    """Keys of the architecture (of transformers' configuration class) for weights trained here."""
    tuning: Tuning = Tuning()
    """Training of the dense model."""
    threads: int = Field(0, ge=0)
    """Threads of each of its jobs; 0: half of the cores, so that two jobs go side by side."""
    memory: int = Field(4000, ge=500)
    """Megabytes that each of its jobs asks a cluster for; rank learning: 16 bytes a parameter or more."""
    licence: str = "unknown"
    """Licence of the weights, handed on with every compressed model."""
    note: str = ""
    """Said beside every number of the model: "stand-in", "trained here", "2-bit source"."""
