"""Metrics of GLUE and of language modelling, as functions of arrays, and their intervals."""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from softjet.config.language import Task
from softjet.language.wikitext import FOLDERS

LEVEL = 0.95
RESAMPLES = 1000

FEWEST_EXAMPLES = 5
"""With fewer examples or windows a bootstrap tells nothing of their spread."""

Outputs = NDArray[np.floating]
Labels = NDArray[np.integer]
Metric = Callable[[Outputs, Labels], float]


def accuracy(logits: Outputs, labels: Labels) -> float:
    """Share of examples whose largest logit is the true class's; logits (N, C), labels (N,)."""
    return float(np.mean(logits.argmax(1) == labels))


def f1(logits: Outputs, labels: Labels) -> float:
    """F1 score of class 1, as GLUE asks for in MRPC and QQP: 2 TP / (2 TP + FP + FN).

    NaN where no example is of class 1: no model could do well or badly then.
    """
    chosen, true = logits.argmax(1) == 1, labels == 1
    both = int(chosen.sum()) + int(true.sum())
    return 2 * int((chosen & true).sum()) / both if true.any() else math.nan


def matthews(logits: Outputs, labels: Labels) -> float:
    """Matthews correlation of two classes, as GLUE asks for in CoLA; 0 where only one is chosen.

    NaN where all examples are of one class: no model could do well or badly then.
    """
    chosen, true = logits.argmax(1) == 1, labels == 1
    if true.all() or not true.any():
        return math.nan
    spread = float(chosen.std() * true.std())
    return float(np.mean(chosen & true) - chosen.mean() * true.mean()) / spread if spread else 0.0


def perplexity(windows: Outputs, _labels: Labels) -> float:
    """Perplexity of windows (N, 2) of tokens and summed nll: exp of the mean over all scored tokens.

    Infinity where it is beyond all numbers (709 nats a token), as of a model that was compressed to bits.
    """
    tokens, nll = windows.sum(0, dtype=np.float64)
    try:
        return math.exp(nll / tokens)
    except OverflowError:
        return math.inf


METRICS: Mapping[str, Mapping[str, Metric]] = {
    "cola": {"matthews": matthews, "accuracy": accuracy},
    "mrpc": {"accuracy": accuracy, "f1": f1},
    "qqp": {"accuracy": accuracy, "f1": f1},
    **{name: {"perplexity": perplexity} for name in FOLDERS},
}
"""Metrics by task, those that GLUE asks for; accuracy for a task that is not named."""

RATIOS = frozenset({"perplexity"})
"""Metrics of which a change is a ratio, not a difference."""


def metrics_of(task: str) -> Mapping[str, Metric]:
    """Metrics of a task by their names, the chief one first."""
    return METRICS.get(task, {"accuracy": accuracy})


def outputs_of(examples: pd.DataFrame) -> tuple[Outputs, Labels]:
    """Arrays that the metrics take, from a table of :func:`softjet.language.evaluate.examples_table`.

    Returns
    -------
    outputs : (N, C) or (N, 2)
        Logits; or tokens and nll of each window.
    labels : (N,)
        Classes; zeros for windows, which have none.
    """
    if "nll" in examples:
        return examples[["tokens", "nll"]].to_numpy(np.float64), np.zeros(len(examples), np.int64)
    logits = [name for name in examples.columns if name.startswith("logit_")]
    return examples[logits].to_numpy(), examples["label"].to_numpy()


def metrics_table(
    examples: pd.DataFrame, task: Task, resamples: int = RESAMPLES, seed: int = 1
) -> pd.DataFrame:
    """Metrics of a model on its task with intervals by bootstrap over examples, or over windows.

    Parameters
    ----------
    examples : DataFrame
        Of :func:`softjet.language.evaluate.examples_table`.
    task : Task
        Which metrics; length and stride for the note.
    resamples : int
        Resamples of the bootstrap.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        metric, value, low, high (95 % interval; NaN with fewer than `FEWEST_EXAMPLES`), n (examples or
        windows), note (for a perplexity: tokens, context and stride; what was not measured).
    """
    outputs, labels = outputs_of(examples)
    generator = np.random.default_rng(seed)
    draws = [generator.integers(len(labels), size=len(labels)) for _ in range(resamples)]
    rows = []
    for name, metric in metrics_of(task.name).items():
        value, values = metric(outputs, labels), [metric(outputs[draw], labels[draw]) for draw in draws]
        low, high = _interval(value, values, len(labels))
        rows.append((name, value, low, high, len(labels), _note(examples, task, value)))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n", "note"])


def _interval(value: float, values: list[float], examples: int) -> tuple[float, float]:
    """Percentiles of what could be measured; a rare resample may have examples of one class only."""
    if math.isnan(value) or examples < FEWEST_EXAMPLES:
        return math.nan, math.nan
    # Between two values of which one is infinite numpy finds none.
    method: Literal["linear", "nearest"] = "nearest" if np.isinf(values).any() else "linear"
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method=method)
    return float(low), float(high)


def _note(examples: pd.DataFrame, task: Task, value: float) -> str:
    if "nll" not in examples:
        return "not measured: the examples are of one class" if math.isnan(value) else ""
    stride = task.stride or task.length
    return f"{examples['tokens'].sum()} tokens scored in windows of {task.length}, one every {stride}"
