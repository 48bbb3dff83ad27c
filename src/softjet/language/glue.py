"""Sentences and pairs of GLUE's classification tasks (arXiv 1804.07461) in one form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from softjet.errors import InputError
from softjet.language.rows import READERS, read_rows
from softjet.language.splits import split_files, task_folder


@dataclass(frozen=True)
class GlueTask:
    """How a task names its files, columns and classes: on the hub, in GLUE's own files, elsewhere.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes in the order of their numbers.
    text, pair, label : tuple of str
        Names of the columns; a task of single sentences has no pair.
    folder : str
        Folder in GLUE's own archive.
    evaluation : tuple of str
        Names of the split with public labels.
    headings : tuple of str
        Columns of GLUE's own file where it has no line of them.
    """

    classes: tuple[str, ...]
    text: tuple[str, ...]
    folder: str
    pair: tuple[str, ...] = ()
    label: tuple[str, ...] = ("label",)
    evaluation: tuple[str, ...] = ("validation", "dev")
    headings: tuple[str, ...] | None = None


TASKS = {
    "cola": GlueTask(
        ("unacceptable", "acceptable"),
        ("sentence",),
        "CoLA",
        headings=("source", "label", "mark", "sentence"),
    ),
    "sst2": GlueTask(("negative", "positive"), ("sentence", "text", "review"), "SST-2"),
    "mrpc": GlueTask(
        ("not_equivalent", "equivalent"),
        ("sentence1", "#1 String"),
        "MRPC",
        pair=("sentence2", "#2 String"),
        label=("label", "Quality"),
    ),
    "qqp": GlueTask(
        ("not_duplicate", "duplicate"),
        ("question1",),
        "QQP",
        pair=("question2",),
        label=("label", "is_duplicate"),
    ),
    "mnli": GlueTask(
        ("entailment", "neutral", "contradiction"),
        ("premise", "sentence1"),
        "MNLI",
        pair=("hypothesis", "sentence2"),
        label=("label", "gold_label"),
        evaluation=("validation_matched", "dev_matched"),
    ),
    "qnli": GlueTask(("entailment", "not_entailment"), ("question",), "QNLI", pair=("sentence",)),
    "rte": GlueTask(("entailment", "not_entailment"), ("sentence1",), "RTE", pair=("sentence2",)),
    "wnli": GlueTask(("not_entailment", "entailment"), ("sentence1",), "WNLI", pair=("sentence2",)),
}
"""GLUE's tasks but STS-B, which asks for a number, and AX, which has no training text."""


def number_of_classes(name: str) -> int | None:
    """Classes of a task; None for running text."""
    return len(TASKS[name].classes) if name in TASKS else None


def classification_rows(name: str, source: str | Path, splits: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Read a split of a GLUE task.

    Parameters
    ----------
    name : str
        A task of TASKS.
    source : str or path
        Folder in the layout of the hub, of GLUE's own archive, or with files named by their split; or a file.
    splits : sequence of str
        Names of the split, the usual first.

    Returns
    -------
    DataFrame
        text, pair (None for single sentences), label (int8, the place in the task's classes).
    int
        Rows left out because the file breaks off in them and leaves no label (GLUE's own QQP has some).

    Raises
    ------
    InputError
        A split, file or column that is missing, a label outside the classes, or no rows at all.
    """
    task = TASKS[name]
    files = split_files(task_folder(source, (name, task.folder)), splits, tuple(READERS))
    parts = [_read_file(task, name, path) for path in files]
    table = pd.concat([rows for rows, _ in parts], ignore_index=True)
    if table.empty:
        raise InputError(files[0], splits[0], "has no rows; get the file again")
    return table, sum(broken for _, broken in parts)


def _read_file(task: GlueTask, name: str, path: Path) -> tuple[pd.DataFrame, int]:
    rows = read_rows(path, task.headings)
    columns = {"text": task.text, "pair": task.pair, "label": task.label}
    wanted = {what: _column(rows, names, path) for what, names in columns.items() if names}
    whole = rows[list(wanted.values())].notna().all(axis=1) & (rows[wanted["label"]] != "")
    kept = rows[whole].reset_index(drop=True)
    pair = kept[wanted["pair"]] if task.pair else pd.Series([None] * len(kept), dtype="str")
    label = _labels(kept[wanted["label"]], task.classes, name, path)
    return pd.DataFrame({"text": kept[wanted["text"]], "pair": pair, "label": label}), int((~whole).sum())


def _column(rows: pd.DataFrame, names: Sequence[str], path: Path) -> str:
    """The first of these names that the file has."""
    found = next((name for name in names if name in rows.columns), None)
    if found is None:
        present = ", ".join(map(str, rows.columns))
        raise InputError(path, names[0], f"no column of this name; there are {present}")
    return found


def _labels(values: pd.Series, classes: Sequence[str], name: str, path: Path) -> pd.Series:
    """Places in `classes` of labels given as numbers or names."""
    numbers = {str(i): i for i in range(len(classes))} | {c: i for i, c in enumerate(classes)}
    labels = values.map(numbers)
    unknown = labels.isna()
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        known = ", ".join(f"{i} ({c})" for i, c in enumerate(classes))
        problem = f"is {values[row]!r} in row {row + 1}, and {name} has {known}; take a split with labels"
        raise InputError(path, str(values.name), problem)
    return labels.astype("int8")
