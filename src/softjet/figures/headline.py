"""The headline of rank learning: a row a model family, beside what the paper claims."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from softjet.figures.compression_findings import SUBJECTS, change_words, margin_words, metric_words
from softjet.figures.latency import by_runtime
from softjet.figures.pareto import DENSE, METHODS
from softjet.figures.report import percent, with_interval

PUBLISHED_REMOVED = 0.5
PUBLISHED_SPEED = (1.33, 1.72)
"""Share of all parameters that SoftLMs (arXiv 2411.10543) removes, and how much faster its models run."""

NOT_SHOWN = "as measured, not shown"
"""Said where an aim lies within the interval: the value reaches it, the whole interval does not."""


class Family(NamedTuple):
    """What one row of the headline is made from."""

    facts: Mapping[str, Any]
    """family, method, model, note ("stand-in", "trained here", "2-bit source" or empty), task, metric, keep.
    """
    comparison: pd.DataFrame
    """By `softjet.lowrank.compare.compare_methods`, with keep_linears, keep_blocks, keep_total, and margin
    (largest loss that was aimed at, as a difference or a distance from the ratio 1)."""
    ratios: pd.DataFrame | None = None
    """By `softjet.latency.summarise`, with macs_a and macs_b, of the same model; None: not measured."""


def headline_table(families: Sequence[Family]) -> pd.DataFrame:
    """A row a family, in words and numbers.

    Parameters
    ----------
    families : sequence of Family

    Returns
    -------
    DataFrame
        family, model, ranks by (where methods differ), task, dense, compressed with its change, parameters
        removed (matrices, blocks, whole model), multiply-accumulates, times as fast, published, not reached.
    """
    table = pd.DataFrame([_row(family) for family in families])
    return table if len(_methods(families)) > 1 else table.drop(columns="ranks by", errors="ignore")


def headline_caption(families: Sequence[Family]) -> str:
    """What the table shows: of which methods, beside what, and which losses were aimed at.

    Parameters
    ----------
    families : sequence of Family
    """
    methods = " or ".join(SUBJECTS[method] for method in _methods(families)) or "no ranks learned"
    margins = dict.fromkeys(
        f"{margin_words(_quality(family))} in {metric_words(family.facts['metric'])}" for family in families
    )
    aim = f" Aimed at is a loss of at most {', '.join(margins)}." if margins else ""
    return (
        f"{methods.capitalize()}, family by family: quality beside the dense model trained as long, with the "
        "paired 95 % interval of the change, what was removed, and the time of the dense model over that of "
        "the compressed one, measured on the same weights. The paper (arXiv 2411.10543) has "
        f"{PUBLISHED_SPEED[0]} to {PUBLISHED_SPEED[1]} times with half of all parameters removed, on other "
        f"machines.{aim}"
    )


def _methods(families: Sequence[Family]) -> list[str]:
    return list(dict.fromkeys(family.facts["method"] for family in families))


def _row(family: Family) -> dict[str, Any]:
    facts, quality = family.facts, _quality(family)
    speeds = [] if family.ratios is None else family.ratios.to_dict("records")
    shares = (percent(1 - quality[f"keep_{what}"], 0) for what in ("linears", "blocks", "total"))
    return {
        "family": facts["family"],
        "model": f"{facts['model']} ({facts['note']})" if facts["note"] else facts["model"],
        "ranks by": METHODS[facts["method"]][0],
        "task, metric": f"{facts['task']}, {facts['metric']} ({quality['better']} is better)",
        "dense": _value(quality["reference"]),
        "compressed": _value(quality["value"]),
        "change [95 %]": f"{change_words(quality)}, n = {quality['n']:,}, seeds: {quality['seeds']}",
        "removed: matrices, blocks, total": ", ".join(shares),
        "MACs a call [M]": "; ".join(dict.fromkeys(_macs(row) for row in speeds if "macs_a" in row)) or None,
        "times as fast [95 %]": "; ".join(map(_speed, speeds)) or "not measured",
        "published": f"{PUBLISHED_SPEED[0]} to {PUBLISHED_SPEED[1]}",
        "not reached": "; ".join(_missed(quality, speeds)) or "none",
    }


def _quality(family: Family) -> dict[Any, Any]:
    table, facts = family.comparison, family.facts
    own = table[(table["against"] == DENSE) & (table["metric"] == facts["metric"])]
    chosen = (own["method"] == facts["method"]) & (own["keep"] == facts["keep"])
    return own[chosen].to_dict("records")[0]


def _value(value: float) -> str:
    return "not measured" if math.isnan(value) else f"{value:.3f}"


def _macs(row: Mapping[Any, Any]) -> str:
    return f"{row['macs_a'] / 1e6:,.0f} to {row['macs_b'] / 1e6:,.0f}"


def _speed(row: Mapping[Any, Any]) -> str:
    where = f"batch {row['batch']}{by_runtime(row)}, length {row['length']}, threads: {row['threads']}"
    return f"{row['note'] or with_interval(row['ratio'], row['low'], row['high'], digits=2)} ({where})"


def _missed(quality: Mapping[Any, Any], speeds: Sequence[Mapping[Any, Any]]) -> list[str]:
    """What was aimed at and not reached, in words."""
    missed, gone = [], 1 - quality["keep_total"]
    if round(gone, 2) < PUBLISHED_REMOVED:
        missed.append(f"half of the whole model (removed: {percent(gone, 0)})")
    missed += _missed_loss(quality)
    measured = [row for row in speeds if not row["note"]]
    return [*missed, *(_missed_speed(measured) if measured else ["a measurement of the time"])]


def _missed_loss(quality: Mapping[Any, Any]) -> Iterator[str]:
    """The loss that was aimed at, where it is not shown to be kept by the worse end of the interval."""
    none, sign = (1 if quality["change_is"] == "ratio" else 0), (1 if quality["better"] == "lower" else -1)
    end = quality["high" if sign > 0 else "low"]
    measured, shown = (sign * (value - none) <= quality["margin"] for value in (quality["change"], end))
    # So that what was not measured, NaN, is missed too.
    if not shown:
        yield f"a loss of at most {margin_words(quality)}{f' (reached {NOT_SHOWN})' if measured else ''}"


def _missed_speed(rows: Sequence[Mapping[Any, Any]]) -> Iterator[str]:
    """The published speed, where by no runtime all calls that were timed are shown to reach it."""
    table = pd.DataFrame(rows)
    by = table["runtime"] if "runtime" in table else pd.Series("", table.index)
    if table["low"].ge(PUBLISHED_SPEED[0]).groupby(by).all().any():
        return
    fast = [row for row in rows if row["ratio"] >= PUBLISHED_SPEED[0]]
    shown = [row for row in fast if row["low"] >= PUBLISHED_SPEED[0]]
    batches = " and ".join(f"a batch of {row['batch']}{by_runtime(row)}" for row in shown or fast)
    where = f"with {batches} alone" if len(shown or fast) < len(rows) else ""
    told = f"shown {where}" if shown else f"reached {', '.join(filter(None, (where, NOT_SHOWN)))}"
    if len(shown) < len(rows):
        yield f"the published {PUBLISHED_SPEED[0]} times as fast{f' ({told})' if fast else ''}"
