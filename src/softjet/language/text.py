"""Text of a task as two tables: to learn from, and to be judged on."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from softjet.config.language import Task
from softjet.errors import InputError
from softjet.language.glue import TASKS, classification_rows
from softjet.language.overlap import without_overlap
from softjet.language.wikitext import FOLDERS, text_rows


class Texts(NamedTuple):
    """Tables of a task, and what was counted while they were made.

    Attributes
    ----------
    training, evaluation : DataFrame
        Of sentences: text, pair (None for single ones), label (int8). Of running text: text, a line each.
    notes : dict of str to int
        Rows of both tables; rows left out because the file breaks off in them; training rows left out because
        they equal, hold or are a part of an evaluation row.
    """

    training: pd.DataFrame
    evaluation: pd.DataFrame
    notes: dict[str, int]


def prepare_text(task: Task, source: str | Path, training: str | Path | None = None) -> Texts:
    """Read the text of a task: GLUE's training and validation splits, or train and test of running text.

    GLUE's own training split is taken as it is, as everyone does. Of training text from elsewhere all that
    overlaps with the validation split is left out (:mod:`softjet.language.overlap`).

    Parameters
    ----------
    task : Task
        Which task.
    source : str or path
        Folder with the splits.
    training : str or path, optional
        Folder or file with the training text, where it is not in `source`; running text is not looked
        through for overlap.

    Raises
    ------
    InputError
        A file or column that is missing or cannot be read, a label outside the task's classes, an empty
        split, or overlap that leaves nothing to learn from.
    """
    if task.name in FOLDERS:
        learn = text_rows(task.name, training or source, "train").iloc[: task.lines]
        judge = text_rows(task.name, source, "test")
        return Texts(learn, judge, {"training": len(learn), "evaluation": len(judge)})
    judge, broken = classification_rows(task.name, source, TASKS[task.name].evaluation)
    learn, also_broken = classification_rows(task.name, training or source, ("train",))
    counts: dict[str, int] = {}
    if training is not None:
        learn, counts = without_overlap(learn, judge)
        if learn.empty:
            raise InputError(training, "train", "all of it stands in the validation text; take other text")
    notes = {"training": len(learn), "evaluation": len(judge), "broken": broken + also_broken}
    return Texts(learn, judge, notes | {f"overlap_{name}": n for name, n in counts.items()})
