"""Tables of compared methods in plain English, for the report."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from softjet.config.lowrank import LEARNED
from softjet.figures.pareto import DENSE, METHODS
from softjet.figures.report import percent, with_interval

SUBJECTS = {
    "soft-threshold": "soft thresholds",
    "whitened-soft-threshold": "whitened soft thresholds",
    "fisher-soft-threshold": "Fisher soft thresholds",
    "learned-mask": "learned masks",
}
"""Methods that learn ranks as the subject of a sentence."""

Row = Mapping[Any, Any]


def compression_findings(table: pd.DataFrame, keep: float, method: str) -> Iterator[str]:
    """What a comparison of methods shows at one keep ratio: its first metric, and the others in short.

    Parameters
    ----------
    table : DataFrame
        By `softjet.lowrank.compare.compare_methods`, with `softjet.lowrank.margins.add_equivalence`.
    keep : float
        The keep ratio.
    method : str
        The method that sentences are about, and that others are compared with. Of one that learns no ranks
        nothing is said but what was not measured.
    """
    at = table[(table["keep"] == keep) & (table["note"] == "")]
    metrics = at["metric"].unique()
    if method in LEARNED:
        yield from _of_metric(at[at["metric"].isin(metrics[:1])], method)
        others = at[at["metric"].isin(metrics[1:]) & (at["method"] == method) & (at["against"] == DENSE)]
        if len(others):
            yield _others(others.to_dict("records"))
    left_out = table.loc[(table["keep"] == keep) & (table["note"] != ""), "metric"].unique()
    if len(left_out):
        yield f"Not measured on so few examples: {', '.join(map(metric_words, left_out))}."


def metric_words(metric: str) -> str:
    """A metric as it is called: rejection at 50 % of Hbb, not rejection_50 Hbb."""
    kind, _, rest = metric.partition("_")
    if kind != "rejection":
        return {"auc": "AUC", "f1": "F1"}.get(metric, metric)
    efficiency, _, name = rest.partition(" ")
    return f"rejection at {efficiency} % of {name}"


def made_words(method: str) -> str:
    """How a compressed model came about, as the beginning of a sentence about it."""
    if method == DENSE:
        return "Trained as long and not cut"
    return f"{'With ranks learned by' if method in LEARNED else 'Cut by'} {METHODS[method][0]}"


def _of_metric(own: pd.DataFrame, method: str) -> Iterator[str]:
    for row in own[(own["method"] == method) & (own["against"] == DENSE)].to_dict("records"):
        yield f"{_beside_dense(metric_words(row['metric']), row)} {seeds_sentence(row)}"
    baselines = own[own["against"] == method].to_dict("records")
    if baselines:
        yield _baselines(metric_words(baselines[0]["metric"]), baselines)


def _others(rows: list[dict[Any, Any]]) -> str:
    """Beside dense, in how many of the other metrics what is shown."""
    shown = {
        "worse": [row for row in rows if side(row) < 0],
        "better": [row for row in rows if side(row) > 0],
        "alike": [row for row in rows if row["alike"]],
    }
    names = {
        kind: f"{len(found)} ({', '.join(metric_words(row['metric']) for row in found)})" if found else "none"
        for kind, found in shown.items()
    }
    margins = dict.fromkeys(("of ratios " if _is_ratio(row) else "") + margin_words(row) for row in rows)
    return (
        f"Of {len(rows)} other metrics measured, {SUBJECTS[rows[0]['method']]} are shown to be worse than "
        f"dense in {names['worse']}, better in {names['better']}, and, with the whole interval, within a "
        f"margin ({', '.join(margins)}) in {names['alike']}.{_of_auc(rows)} The table below has every number."
    )


def margin_words(row: Row) -> str:
    """The margin within which a change counts as none: a difference, or for a ratio a share."""
    return percent(row["margin"], 0) if _is_ratio(row) else f"{row['margin']:g}"


def _is_ratio(row: Row) -> bool:
    return row["change_is"] == "ratio"


def _of_auc(rows: list[dict[Any, Any]]) -> str:
    """How wide the margin is for an AUC, which is close to 1 whatever the network."""
    found = [row for row in rows if row["metric"] == "auc" and row["reference"] < 1]
    told = (
        f" For AUC {margin_words(row)} is {percent(row['margin'] / (1 - row['reference']), 0)} of what "
        f"dense, at {row['reference']:.3f}, lacks to 1."
        for row in found
    )
    return next(told, "")


def removed_finding(removed: pd.DataFrame, metric: str, change_is: str) -> str:
    """The largest share that can go, by method.

    Parameters
    ----------
    removed : DataFrame
        By `softjet.lowrank.margins.largest_removed`, one margin.
    metric : str
        Which metric of the table.
    change_is : str
        What its margin is of: "difference" or "ratio".
    """
    own = removed[removed["metric"] == metric].to_dict("records")
    margin = margin_words({**own[0], "change_is": change_is})
    shares = "; ".join(
        f"{METHODS[row['method']][0]} {percent(row['removed'], 0)} (shown by the whole interval: "
        f"{percent(row['shown'], 0)})"
        for row in own
    )
    return (
        "The largest share of the budgeted parameters that was removed with "
        f"{metric_words(metric)} no more than {margin} worse than dense, all gentler keep ratios included: "
        f"{shares}."
    )


def change_words(row: Row) -> str:
    """A change with its interval, as a difference or as a factor."""
    words = with_interval(row["change"], row["low"], row["high"])
    return f"a factor of {words}" if row["change_is"] == "ratio" else words


def side(row: Row) -> int:
    """1 where a model is shown to be better than the other, -1 worse, 0 neither."""
    none = 1 if row["change_is"] == "ratio" else 0
    sign = (row["low"] > none) - (row["high"] < none)
    return sign if row["better"] == "higher" else -sign


def seeds_sentence(row: Row) -> str:
    """What the number of seeds means for an interval."""
    if row["seeds"] == 1:
        return "With one seed the interval holds the choice of examples alone."
    return f"Between single seeds the change differs by {row['spread']:.3f} (standard deviation)."


def _beside_dense(metric: str, row: Row) -> str:
    verdict = {
        1: "it is better than the dense model trained as long",
        0: "a difference from the dense model trained as long is not shown",
        -1: "it is worse than the dense model trained as long",
    }[side(row)]
    seeds = "1 seed" if row["seeds"] == 1 else f"{row['seeds']} seeds"
    return (
        f"With a budget of {percent(row['keep'], 0)}, {SUBJECTS[row['method']]} reach a value of "
        f"{row['value']:.3f} in {metric} where dense has {row['reference']:.3f}, a change by "
        f"{change_words(row)} (paired, n = {row['n']:,}, {seeds}): {verdict}. {_equivalence(row)}"
    )


def _equivalence(row: Row) -> str:
    """Whether the change is shown to be small."""
    if row["alike"]:
        return f"The whole interval lies within {margin_words(row)} of dense."
    return f"That it lies within {margin_words(row)} of dense is not shown."


def _baselines(metric: str, rows: list[dict[Any, Any]]) -> str:
    """How the other methods do beside the one that all are compared with, at the same size."""
    said: dict[int, list[str]] = {-1: [], 0: [], 1: []}
    for row in rows:
        said[side(row)].append(f"{METHODS[row['method']][0]} ({change_words(row)})")
    words = {
        -1: f"{SUBJECTS[rows[0]['against']]} beat {{}}",
        0: "they are not told from {}",
        1: "they lose to {}",
    }
    told = "; ".join(words[s].format(", ".join(names)) for s, names in said.items() if names)
    return (
        f"In {metric} at equal size and equal training {told}. Changes are of the other method against them."
    )
