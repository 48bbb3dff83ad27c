"""The loader of a task."""

import pandas as pd
from transformers import PreTrainedTokenizerBase

from softjet.config.language import Task
from softjet.language.sentences import ClassificationLoader
from softjet.language.wikitext import FOLDERS
from softjet.language.windows import TextLoader


def loader_of(
    task: Task, table: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, batch_size: int, seed: int
) -> ClassificationLoader | TextLoader:
    """Loader of a table of a task, with the task's length, stride and number of examples evaluated."""
    if task.name in FOLDERS:
        return TextLoader(table, tokenizer, batch_size, seed, task.length, task.stride, task.evaluate)
    return ClassificationLoader(table, tokenizer, batch_size, seed, task.length, task.evaluate)
