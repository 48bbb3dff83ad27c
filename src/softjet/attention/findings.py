"""The statistics of attention in plain English, for the report."""

import pandas as pd

from softjet.attention.statistics import ALL
from softjet.jets.schema import CLASSES

BINARY = 0.8
"""A query is binary where its largest weight exceeds this (arXiv 2512.00210)."""


def findings(statistics: pd.DataFrame) -> list[str]:
    """Say what a table of `attention_statistics` shows, a sentence a finding.

    Whether the published pattern holds (each particle attends to one other at most, arXiv 2412.03673) is
    decided by the interval of the share of binary queries: most are, most are not, or it cannot be told.
    """
    overall = statistics[(statistics.layer == ALL) & (statistics["head"] == ALL) & (statistics.label == ALL)]
    shares = overall[overall.statistic == "above"]
    threshold = float(shares.threshold.iloc[(shares.threshold - BINARY).abs().argmin()])
    at = statistics[(statistics.statistic == "above") & (statistics.threshold == threshold)]
    others = overall[overall.statistic == "above_other"]
    return [
        *(_share(row, others[others.threshold == row.threshold].iloc[0]) for _, row in shares.iterrows()),
        _verdict(at[(at.layer == ALL) & (at.label == ALL)].iloc[0]),
        _extremes(at, threshold),
        _other(overall),
        _measured(overall.iloc[0]),
    ]


def _measured(row: pd.Series) -> str:
    return (
        f"Measured on {row.n_jets:,} test jets with {row.n_queries:,} queries in all layers and heads; "
        "intervals hold 95 %, by resampling jets within each class."
    )


def _percent(row: pd.Series, of: str = "") -> str:
    """A share with its interval, of the network or of the null `of`: 3.1 % [2.9, 3.3]."""
    value, low, high = (
        100 * row[name] for name in (of or "value", f"{of}_low".strip("_"), f"{of}_high".strip("_"))
    )
    digits = 1 if value >= 1 else 2
    interval = "" if pd.isna(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f} %{interval}"


def _share(row: pd.Series, other: pd.Series) -> str:
    """Queries above a threshold, and those of them that do not attend to themselves, beside the nulls."""
    return (
        f"In the trained network {_percent(row)} of queries put more than {row.threshold:g} of their weight "
        f"on one particle; random logits of the same number and spread {_percent(row, 'null')}, "
        f"the untrained network {_percent(row, 'untrained')}: {_against(row)}. On another particle than "
        f"themselves: {_percent(other)}, random {_percent(other, 'null')}, "
        f"untrained {_percent(other, 'untrained')}."
    )


def _against(row: pd.Series) -> str:
    """How the trained network compares with the random null."""
    if pd.isna(row.low):
        return "too few jets a class to tell chance from structure"
    if row.low > row.null_high:
        times = f" ({row.value / row.null:.1f} times as often)" if row.null > 0 else ""
        return f"more than spread alone explains{times}"
    if row.high < row.null_low:
        return "less than spread alone would give"
    return "no more than spread alone explains"


def _verdict(row: pd.Series) -> str:
    claim = "The published pattern, that nearly every particle attends to one other at most,"
    share = f"{_percent(row)} of queries are binary (largest weight above {row.threshold:g})"
    if row.low > 0.5:
        return f"{claim} holds for most queries here: {share}."
    if row.high < 0.5:
        return f"{claim} does not hold in this network: only {share}."
    return f"Whether the published pattern holds for most queries cannot be told here: {share}."


def _extremes(at: pd.DataFrame, threshold: float) -> str:
    """Layers, heads and classes with most and fewest queries above the threshold."""
    layers = at[(at.layer != ALL) & (at["head"] == ALL)].sort_values("value")
    heads = at[at["head"] != ALL].sort_values("value")
    labels = at[at.label != ALL].sort_values("value")
    least, most = layers.iloc[0], layers.iloc[-1]
    sharpest, first, last = heads.iloc[-1], labels.iloc[0], labels.iloc[-1]
    return (
        f"The share above {threshold:g} runs from {_percent(least)} in layer {least.layer} to "
        f"{_percent(most)} in layer {most.layer}, is {_percent(sharpest)} in the sharpest head "
        f"(layer {sharpest.layer}, head {sharpest['head']}), and by class from {_percent(first)} "
        f"({CLASSES[first.label]}) to {_percent(last)} ({CLASSES[last.label]})."
    )


def _other(overall: pd.DataFrame) -> str:
    keys, itself, mutual = (
        overall[overall.statistic == name].iloc[0] for name in ("effective_keys", "self", "mutual")
    )
    return (
        f"A query spreads its weight over {keys.value:.1f} effective keys on average (random logits "
        f"{keys.null:.1f}, untrained {keys.untrained:.1f}); its largest weight is on itself for "
        f"{_percent(itself)} (random {_percent(itself, 'null')}, untrained {_percent(itself, 'untrained')}) "
        f"and mutual for {_percent(mutual)} (random {_percent(mutual, 'null')}, "
        f"untrained {_percent(mutual, 'untrained')})."
    )
