"""Tables of interventions and of top-k attention in plain English, for the report."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from softjet.figures.interventions import ALL, NAMES, SIGNIFICANT
from softjet.figures.report import percent, with_interval

Row = Mapping[Any, Any]

RANDOM = "random edges of the same mass"
SHUFFLED = "its own weights in random order"
"""Controls of cuts and of patches."""

COUNTS = ("no", "one", "two", "three", "four", "five", "six")

SMALLEST = 0.001
"""Below it a q is not quoted: so far out a tail is not known."""


def intervention_findings(table: pd.DataFrame, subjets: int | None = None) -> Iterator[str]:
    """What a table of `softjet.attention.effects.effects` shows, with its network, a sentence a finding.

    Whether an intervention matters is decided by its difference from its control, after correction for the
    number of tests.

    Parameters
    ----------
    table : DataFrame
    subjets : int, optional
        How many a jet has, to be said where edges between or within them are cut.
    """
    overall = table[table.label == ALL]
    for intervention, name in NAMES.items():
        own = overall[overall.intervention == intervention]
        logit = own[(own.metric == "true_logit") & (own.network == "trained")]
        if logit.change.notna().any():
            layers = _rows(logit[logit.layer != ALL])
            random = SHUFFLED if intervention.startswith("patch") else RANDOM
            said = name.replace("subjets", f"{_count(subjets)} subjets") if subjets else name
            yield f"{_everywhere(said, own, random)} {_single_layers(layers)}"
    yield _silenced(overall)
    yield f"{_rejections(table[table.network == 'trained'])} {_correction(table)}"


def topk_findings(table: pd.DataFrame) -> Iterator[str]:
    """What a table of top-k attention (`softjet.attention.topk`) shows, a sentence a finding."""
    accuracy = table[table.metric == "accuracy"]
    yield from (
        _quality(str(weights), _rows(own)) for weights, own in accuracy.groupby("weights", sort=False)
    )
    trained = accuracy[(accuracy.weights == "as trained") & (accuracy.low <= 0) & (accuracy.high >= 0)]
    if trained.empty:
        yield "Without fine-tuning accuracy changes at every k that was tried."
    else:
        yield f"The fewest weights without a change of accuracy that can be seen are {trained.k.min()}."
    yield _rejections_by_k(table[table.metric.str.startswith("rejection")])
    yield _time(_rows(table[table.metric == "time"]))


def _count(number: int) -> str:
    return COUNTS[number] if number < len(COUNTS) else str(number)


def _rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


def _one(table: pd.DataFrame, network: str, metric: str) -> Row:
    """Row of a network and metric in all layers at once."""
    chosen = (table.network == network) & (table.metric == metric) & (table.layer == ALL)
    return _rows(table[chosen])[0]


def _everywhere(name: str, own: pd.DataFrame, random: str) -> str:
    """Effect of an intervention in all layers at once."""
    logit, accuracy = (_one(own, "trained", metric) for metric in ("true_logit", "accuracy"))
    untrained = _one(own, "untrained", "true_logit")
    return (
        f"In all layers at once, {name} ({percent(logit['mass'], 0)} of a query's weight; "
        f"{logit['n_jets']:,} jets): the true class's logit changes by {_arm(logit, 'change')}, "
        f"with {random} by {_arm(logit, 'control')}, "
        f"in the untrained network by {_arm(untrained, 'change')}; "
        f"accuracy by {_arm(accuracy, 'change')}, with the control by {_arm(accuracy, 'control')}. "
        f"{_verdict(logit, random)}"
    )


def _arm(row: Row, arm: str) -> str:
    """Value of an arm with its interval, where there is one."""
    if math.isnan(row[f"{arm}_low"]):
        return f"{row[arm]:z.2f}"
    return with_interval(row[arm], row[f"{arm}_low"], row[f"{arm}_high"], digits=2)


def _verdict(row: Row, random: str) -> str:
    """Whether an intervention does more to the true logit than its control."""
    if math.isnan(row["q"]):
        return f"There are too few jets a class to tell it from {random}."
    q = f"q = {row['q']:.2g}" if row["q"] >= SMALLEST else f"q < {SMALLEST:g}"
    found = f"difference {_arm(row, 'difference')}, {q}"
    if row["q"] >= SIGNIFICANT:
        return f"That is not told from {random} ({found}): that these weights matter is not shown here."
    return f"That {_compared(row, random)} ({found})."


def _compared(row: Row, random: str) -> str:
    """How a change of the true logit stands to its control's, from which it is told."""
    below = row["difference"] < 0
    if row["change_high"] < 0:
        return f"is {'more' if below else 'less'} harm than by {random}"
    if row["change_low"] > 0:
        return _raised(row, random)
    return f"is not told to change it, and lies {'below' if below else 'above'} {random}"


def _raised(row: Row, random: str) -> str:
    """The same of a change that raises the true logit, which its control need not do."""
    if row["difference"] < 0:
        return f"raises it less than {random}"
    if row["control_low"] > 0:
        return f"raises it more than {random}"
    does = "lower it" if row["control_high"] < 0 else "are not told to change it"
    return f"raises it, where {random} {does}"


def _does_harm(row: Row) -> bool:
    """Whether the true logit falls, and further than under the control."""
    return row["q"] < SIGNIFICANT and row["difference"] < 0 and row["change_high"] < 0


def _single_layers(layers: list[dict[Any, Any]]) -> str:
    """In how many single layers an intervention does more than its control."""
    worse = [row for row in layers if _does_harm(row)]
    told = f"In single layers it does more harm than its control in {len(worse)} of {len(layers)}"
    if not worse:
        return f"{told}."
    most = min(worse, key=lambda row: row["difference"])
    return f"{told}, most in layer {most['layer']} (difference {_arm(most, 'difference')})."


def _silenced(overall: pd.DataFrame) -> str:
    heads = overall[(overall.intervention == "head") & (overall.metric == "true_logit")]
    rows = _rows(heads[heads.network == "trained"])
    told = sum(row["q"] < SIGNIFICANT for row in rows)
    below = sum(map(_does_harm, rows))
    return (
        f"Silencing one head at a time (it gives zero; {heads.n_jets.max():,} jets): {below} of {len(rows)} "
        "heads lower the true class's logit more than random edges of the same mass over all heads of the "
        f"layer do, {told - below} differ from these without lowering it more, the others are not told from "
        f"random. {_largest_fall(rows)}"
    )


def _largest_fall(rows: list[dict[Any, Any]]) -> str:
    most = min(rows, key=lambda row: row["change"])
    if most["change"] >= 0:
        return "No head lowers it."
    return f"The largest fall is {_arm(most, 'change')}, by head {most['head']} of layer {most['layer']}."


def _rejections(table: pd.DataFrame) -> str:
    rows = table[table.metric.str.startswith("rejection")]
    quoted = rows[rows.note == ""]
    if rows.empty:
        return "The classes have no background to reject."
    if quoted.empty:
        return f"No rejection is measured on so few jets, the first for one: {_reason(rows.note.iloc[0])}."
    worse = (quoted.q < SIGNIFICANT) & (quoted.difference < 0) & (quoted.change_high < 0)
    return f"Of {len(quoted):,} rejections measured {worse.sum():,} fall more than with their control."


def _reason(note: str) -> str:
    """What a note gives in brackets as the reason."""
    return note.removeprefix("not measured (").removesuffix(")")


def _correction(table: pd.DataFrame) -> str:
    tests = table[(table.metric == "true_logit") & (table.network == "trained")].q.notna().sum()
    return (
        f"A difference is called one where q < {SIGNIFICANT:g}, p after Benjamini and Yekutieli's correction "
        f"for all {tests:,} tests of a metric (layers, heads and classes)."
    )


def _quality(weights: str, rows: list[dict[Any, Any]]) -> str:
    changes = ", ".join(f"{_change(row, 3)} at k = {row['k']}" for row in rows)
    other = "the same network" if weights == "as trained" else "one fine-tuned as long"
    return (
        f"With the k largest weights of each query alone, {weights}, accuracy changes by {changes}, against "
        f"{other} with all weights ({rows[0]['dense']:.3f} on the same {rows[0]['n']:,} jets)."
    )


def _rejections_by_k(table: pd.DataFrame) -> str:
    if table.empty:
        return "The classes have no background to reject."
    quoted = table[(table.note == "") & table.change.notna()]
    if quoted.empty:
        return f"No rejection is measured, e.g. {table['class'].iloc[0]}: {table.note.iloc[0]}."
    ratios = ", ".join(
        f"{row['class']} at {row['metric'].removeprefix('rejection_')} % {_change(row, 2)} at k = {row['k']} "
        f"({row['weights']})"
        for row in _rows(quoted)
    )
    return f"Rejection with top-k attention over that with all weights, where it is measured: {ratios}."


def _change(row: Row, digits: int) -> str:
    return with_interval(row["change"], row["low"], row["high"], digits=digits)


def _time(rows: list[dict[Any, Any]]) -> str:
    measured = [row for row in rows if not row["note"]]
    if not measured:
        return f"The machine was too noisy to time top-k attention ({rows[0]['note']})."
    ratios = ", ".join(f"{_change(row, 2)} at k = {row['k']}" for row in measured)
    if any(row["high"] < 1 for row in measured):
        return (
            f"Masking alone saves time here: a forward pass takes {ratios} times as long as the dense one, "
            "though every weight is still computed before most are thrown away. Kernels that skip them could "
            "save more."
        )
    return (
        f"Masking alone saves no time: a forward pass takes {ratios} times as long as the dense one, whose "
        "kernels still compute every weight before most are thrown away. A gain needs kernels that skip them."
    )
