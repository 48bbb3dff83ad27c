"""The statistics of attention in plain English, for the report."""

import pandas as pd

from softjet.attention.spectrum import EVERY_SPECTRUM, FEWEST_PARTICLES
from softjet.attention.statistics import ALL, MULTIPLICITIES, is_cell

BINARY = 0.8
"""A query is binary where its largest weight exceeds this (arXiv 2512.00210)."""


RATE = 0.05
"""False discovery rate at which cells are said to differ, and level of p-values of single comparisons."""


def findings(statistics: pd.DataFrame) -> dict[str, list[str]]:
    """Say what the statistics of `softjet.attention.binary` show, by the figure that shows it.

    The last sentence of "shares" is the verdict on the published pattern.

    Whether the published pattern holds (each particle attends to one other at most, arXiv 2412.03673) is
    decided by the interval of the share of binary queries: most are, most are not, or it cannot be told.

    Parameters
    ----------
    statistics : DataFrame
        By `softjet.attention.statistics.statistics_table`.
    """
    overall = statistics[_is_overall(statistics)]
    shares = overall[overall.statistic == "above"]
    threshold = float(shares.threshold.iloc[(shares.threshold - BINARY).abs().argmin()])
    at = statistics[(statistics.statistic == "above") & (statistics.threshold == threshold)]
    others = overall[overall.statistic == "above_other"]
    every_share = [
        _share(row, others[others.threshold == row.threshold].iloc[0]) for _, row in shares.iterrows()
    ]
    return {
        "shares": [
            _measured(statistics[statistics.statistic == "self"]),
            *every_share,
            _other(overall),
            _verdict(at[_is_overall(at)].iloc[0]),
        ],
        "heads": [
            _extremes(at, threshold),
            _compared(statistics[(statistics.statistic != "above") | (statistics.threshold == threshold)]),
        ],
        "multiplicity": [_lengths(at, threshold)],
        "choices": [_choices(overall)],
    }


def _is_overall(table: pd.DataFrame) -> pd.Series:
    """Rows over all layers, heads, classes and multiplicities."""
    return (table[["layer", "head", "label", "n_low"]] == ALL).all(axis=1)


def _measured(rows: pd.DataFrame) -> str:
    """Jets and queries, added up over classes: rows of all classes weigh each class alike."""
    every = (rows[["layer", "head", "n_low"]] == ALL).all(axis=1)
    of_class = rows[every & (rows.label != ALL)]
    return (
        f"Measured on {of_class.n_jets.sum():,} test jets with {of_class.denominator.sum():,.0f} queries in "
        "all layers and heads; intervals hold 95 %, by resampling jets."
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
    """How the trained network compares with the random null, by their common resamples (95 %)."""
    if pd.isna([row.low, row.p_null]).any():
        return "too few jets a class to tell chance from structure"
    if row.p_null >= RATE:
        return "not told from what spread alone gives"
    if row.value < row.null:
        return "less than spread alone would give"
    times = f" ({_times(row.value / row.null)} times as often)" if row.null > 0 else ""
    return f"more than spread alone explains{times}"


def _times(ratio: float) -> str:
    """A ratio, with more digits where it would else read 1.0."""
    return f"{ratio:.2f}" if ratio < 1.5 else f"{ratio:.1f}"


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
    alike = at[at.n_low == ALL].sort_values("value")
    layers = alike[(alike.layer != ALL) & (alike["head"] == ALL) & (alike.label == ALL)]
    heads = alike[(alike["head"] != ALL) & (alike.label == ALL)]
    labels = alike[(alike.label != ALL) & (alike.layer == ALL)]
    least, most = layers.iloc[0], layers.iloc[-1]
    sharpest, first, last = heads.iloc[-1], labels.iloc[0], labels.iloc[-1]
    return (
        f"The share above {threshold:g} runs from {_percent(least)} in layer {least.layer} to "
        f"{_percent(most)} in layer {most.layer}, is {_percent(sharpest)} in the sharpest head "
        f"(layer {sharpest.layer}, head {sharpest['head']}), and by class from {_percent(first)} "
        f"({first['class']}) to {_percent(last)} ({last['class']})."
    )


def _lengths(at: pd.DataFrame, threshold: float) -> str:
    """How the share above the threshold goes with multiplicity."""
    bins = at[(at.n_low != ALL) & (at.layer == ALL)].sort_values("n_low")
    shares = ", ".join(f"{_percent(row)} with {_bin_words(row.n_low)}" for _, row in bins.iterrows())
    return f"By the number of particles in the jet the share above {threshold:g} is {shares}."


def _bin_words(n_low: int) -> str:
    """A bin of multiplicity by both ends: its lower one alone reads as if bins held each other."""
    after = [other for other in MULTIPLICITIES if other > n_low]
    return f"{n_low} to {after[0] - 1}" if after else f"{n_low} or more"


def _other(overall: pd.DataFrame) -> str:
    keys, extreme = (overall[overall.statistic == name].iloc[0] for name in ("effective_keys", "extreme"))
    return (
        f"A query spreads its weight over {keys.value:.1f} effective keys on average (random logits "
        f"{keys.null:.1f}, untrained {keys.untrained:.1f}). No weight lies between 0.1 and 0.9 for "
        f"{_beside(extreme)} of queries, which even attention over many particles does too."
    )


def _choices(overall: pd.DataFrame) -> str:
    itself, mutual, hub = (overall[overall.statistic == name].iloc[0] for name in ("self", "mutual", "hub"))
    return (
        f"The largest weight of a query is on itself for {_beside(itself)}, mutual for {_beside(mutual)}, "
        f"and on the jet's most chosen particle for {_beside(hub)}."
    )


def _beside(row: pd.Series) -> str:
    """A share beside both nulls."""
    return f"{_percent(row)} (random {_percent(row, 'null')}, untrained {_percent(row, 'untrained')})"


NAMES = {
    "above": "queries above the threshold",
    "effective_keys": "effective keys",
    "self": "self-attention",
    "mutual": "mutual attention",
    "hub": "attention to hubs",
}
"""Statistics whose cells are compared, in words."""


def _compared(statistics: pd.DataFrame) -> str:
    """In how many cells of layer, head and class a statistic differs from random logits."""
    cells = statistics[is_cell(statistics)]
    counted = [_counts(cells[cells.statistic == name], words) for name, words in NAMES.items()]
    return (
        f"Looked at cell by cell of layer, head and class ({_n_cells(cells)} a statistic), against random "
        f"logits at a false discovery rate of {100 * RATE:g} % (Benjamini-Hochberg): "
        + "; ".join(counted)
        + "."
    )


def _n_cells(cells: pd.DataFrame) -> int:
    return len(cells[["layer", "head", "label"]].drop_duplicates())


def _counts(cells: pd.DataFrame, words: str) -> str:
    sure = cells[cells.q_null < RATE]
    more = int((sure.value > sure.null).sum())
    return f"{words} more in {more} and less in {len(sure) - more}, not told in {len(cells) - len(sure)}"


def parts_findings(statistics: pd.DataFrame) -> dict[str, list[str]]:
    """Say what the statistics of `softjet.attention.parts` show, by the figure that shows it.

    Parameters
    ----------
    statistics : DataFrame
        By `softjet.attention.statistics.statistics_table`.
    """
    overall = statistics[_is_overall(statistics)]
    found = {name: rows.iloc[0] for name, rows in overall[overall.threshold.isna()].groupby("statistic")}
    return {
        "parts": [
            _who_chooses(found["same_key_qk"], found["same_key_bias"]),
            _who_sharpens(found["largest_qk"], found["largest_bias"], found["winner_by_bias"]),
            _who_varies(found["variance_qk"], found["variance_bias"], found["variance_both"]),
            _ratio_sentence(overall[overall.statistic == "ratio"]),
            _rank_sentence(overall[overall.statistic == "rank"]),
        ]
    }


def _trained_untrained(row: pd.Series) -> str:
    return f"{_percent(row)} (untrained {_percent(row, 'untrained')})"


def _jets(row: pd.Series) -> str:
    """Of how many jets: most statistics of parts are of few of those that the chapter begins with."""
    return f"({row.n_jets:,} jets)"


def _who_chooses(qk: pd.Series, bias: pd.Series) -> str:
    """Which part alone keeps the key of the largest weight."""
    if pd.isna([qk.low, bias.low]).any():
        ending = "too few jets a class to tell which decides more often"
    elif qk.low > bias.high or bias.low > qk.high:
        ending = f"{'QK' if qk.value > bias.value else 'U'} decides more often"
    else:
        ending = "neither decides more often"
    return (
        f"With QK alone the largest weight stays on its key for {_trained_untrained(qk)} of queries, so U "
        f"changes it for the others; with the pair bias U alone for {_trained_untrained(bias)}: {ending}. "
        f"A key chosen blindly would be right for {_percent(qk, 'null')} {_jets(qk)}."
    )


def _who_sharpens(qk: pd.Series, bias: pd.Series, winner: pd.Series) -> str:
    """Which part alone makes large weights."""
    return (
        f"The mean largest weight is {qk.value:.2f} with QK alone and {bias.value:.2f} with U alone "
        f"(untrained {qk.untrained:.2f} and {bias.untrained:.2f}); U adds more than QK to the winning logit "
        f"for {_trained_untrained(winner)} of queries {_jets(winner)}."
    )


def _who_varies(qk: pd.Series, bias: pd.Series, both: pd.Series) -> str:
    return (
        f"Of the variance of a row's logits QK makes {_trained_untrained(qk)}, U {_trained_untrained(bias)} "
        f"and their covariance {_trained_untrained(both)} {_jets(both)}."
    )


def _ratio_sentence(ratio: pd.DataFrame) -> str:
    shares = ", ".join(f"{_percent(row)} above {row.threshold:g}" for _, row in ratio.iterrows())
    return f"|QK| / |U| before the softmax, over pairs: {shares} {_jets(ratio.iloc[0])}."


def _rank_sentence(rank: pd.DataFrame) -> str:
    if rank.value.isna().all():
        return (
            f"None of the jets looked at (one in {EVERY_SPECTRUM}) has {FEWEST_PARTICLES} particles or more, "
            "of which the singular values of U would be told."
        )
    ranks = ", ".join(
        f"{row.value:.1f} for {100 * row.threshold:g} % (untrained {row.untrained:.1f})"
        for _, row in rank.iterrows()
    )
    return (
        "The mean number of singular values of U that hold its energy, rows centred, without the diagonal, "
        f"jets of {FEWEST_PARTICLES} particles or more: {ranks} {_jets(rank.iloc[0])}."
    )
