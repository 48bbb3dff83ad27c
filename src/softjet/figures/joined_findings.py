"""What a Particle Transformer loses when it gets smaller, in plain English, for the report."""

from collections.abc import Iterator

import pandas as pd

from softjet.figures.joined import ALL, ANSWER, MATRICES, learned, losses, nearest_threshold
from softjet.figures.observable_findings import WORDS
from softjet.figures.observables import SIGNIFICANT
from softjet.figures.report import percent, with_interval

NAMES = {"binary": "the share of binary queries", "agreement": "the choice of the key"}
MOST = 4
"""Quantities that a sentence names."""


def joined_findings(compressed: pd.DataFrame, comparison: pd.DataFrame) -> Iterator[str]:
    """What the tables show, a sentence or two a finding.

    Parameters
    ----------
    compressed, comparison : DataFrame
        As of `softjet.figures.joined.losses`.
    """
    yield what_went_first(compressed, comparison)
    own = learned(compressed)
    smallest = _overall(own[own.keep == own.keep.min()])
    yield _keys(smallest, compressed)
    yield _sharpness(smallest)
    yield _heads(own)
    yield _tests(compressed)


def what_went_first(compressed: pd.DataFrame, comparison: pd.DataFrame) -> str:
    """Say which quantity is lost at the largest keep ratio, and which of those lost there is lost most.

    Parameters
    ----------
    compressed, comparison : DataFrame
        As of `softjet.figures.joined.losses`.
    """
    table = losses(compressed, comparison)
    n, keeps = int(table.n[table.kind != ANSWER].max()), sorted(table.keep.unique(), reverse=True)
    told = table[table.told]
    count = len(table.drop_duplicates(["kind", "name"]))
    if told.empty:
        return (
            f"Which physics goes first cannot be told: at none of the keep ratios measured ({_list(keeps)}) "
            f"is a loss of any of {count} quantities told from chance on {n:,} test jets."
        )
    keep = told.keep.max()
    text = f"{_first(table[table.keep == keep])} {_not_lost(table, keep)}"
    if len(keeps) == 1:
        return f"{text} With one keep ratio measured ({keep:g}) this is an order of size, not of time."
    return f"{text} {_later(table, keep)}".rstrip()


def _first(rows: pd.DataFrame) -> str:
    """The quantities lost at the largest keep at which any is; whether one stands out is tested."""
    here = rows[rows.told].sort_values("loss", ascending=False)
    first, others = here.iloc[0], here.iloc[1:]
    lead = f"At keep {first.keep:g}, where the first losses are told from chance,"
    most = ", ".join(_with_loss(row) for _, row in here.head(MOST).iterrows())
    if len(here) == 1:
        return f"{lead} one thing is lost: {most}."
    rest = f" and {len(here) - MOST} more" if len(here) > MOST else ""
    if first.low > others.high.max():
        # What is not told may still have gone further, where it was hardly measured.
        above_all = (rows[~rows.told].high < first.low).all()
        reach = ", its interval above all others" if above_all else " of those that are told"
        return f"{lead} {_name(first)} goes furthest{reach}: {most}{rest}."
    rivals = others[others.high >= first.low]
    alike = _list([_name(row) for _, row in pd.concat([here.head(1), rivals]).iterrows()])
    return f"{lead} the losses are {most}{rest}; which of {alike} is lost most cannot be told on these jets."


def _not_lost(table: pd.DataFrame, keep: float) -> str:
    kept = table[(table.keep == keep) & ~table.told]
    if kept.empty:
        return "Nothing looked at is spared there."
    return f"No loss is told there of {_list([_name(row) for _, row in kept.iterrows()])}."


def _later(table: pd.DataFrame, keep: float) -> str:
    """What is lost at smaller keep ratios only, and what never is."""
    told = table[table.told].groupby(["kind", "name"], sort=False).keep.max().reset_index()
    told = told[told.keep < keep].sort_values("keep", ascending=False)
    never = table[~table.groupby(["kind", "name"]).told.transform("any")].drop_duplicates(["kind", "name"])
    parts = []
    if len(told):
        parts.append("Then go " + ", ".join(f"{_name(r)} (at {r.keep:g})" for _, r in told.iterrows()) + ".")
    if len(never):
        names = _list([_name(row) for _, row in never.iterrows()])
        parts.append(f"Never told as lost down to {table.keep.min():g}: {names}.")
    return " ".join(parts)


def _keys(rows: pd.DataFrame, compressed: pd.DataFrame) -> str:
    """Agreement of the largest weight's key with the dense model."""
    agreed, drawn = (_row(rows, name) for name in ("agreement", "agreement_by_draws"))
    layers = compressed[
        (compressed.run == agreed.run) & (compressed.seed == ALL) & (compressed.quantity == "agreement")
    ]
    layers = layers[(layers.layer != ALL) & (layers["head"] == ALL)].sort_values("value")
    verdict = _verdict(agreed, "fewer than", "more than", "no fewer, as far as these jets tell, than")
    return (
        f"At keep {agreed.keep:g} the largest weight of {percent(agreed.value)} of queries is on the key of "
        f"the dense model, {verdict} {_dense_pair(agreed)} ({percent(agreed.dense)}; difference "
        f"{with_interval(agreed.change, agreed.low, agreed.high, 100, 1)} points); keys drawn independently "
        f"from the weights of both would agree for {percent(drawn.value)}. Least agree queries of layer "
        f"{layers.layer.iloc[0]} ({percent(layers.value.iloc[0])}), most those of layer "
        f"{layers.layer.iloc[-1]} ({percent(layers.value.iloc[-1])})."
    )


def _dense_pair(agreed: pd.Series) -> str:
    """Which dense models agreement is compared with: without a second seed there is but the start."""
    if agreed.seeds > 1:
        return "between dense models of two seeds"
    return "between the dense model and the one that its further training started from"


def _sharpness(rows: pd.DataFrame) -> str:
    above = rows[rows.quantity == "above"]
    binary = above[above.detail == nearest_threshold(above)].iloc[0]
    keys = _row(rows, "effective_keys")
    verdict = _verdict(keys, "sharper", "more even", "as sharp as before, as far as these jets tell")
    return (
        f"Attention becomes {verdict}: the effective number of keys changes by "
        f"{with_interval(keys.change, keys.low, keys.high, digits=2)} from {keys.dense:.2f}, the share of "
        f"queries with more than {binary.detail} of their weight on one particle by "
        f"{with_interval(binary.change, binary.low, binary.high, 100, 2)} points from "
        f"{percent(binary.dense)}."
    )


def _heads(own: pd.DataFrame) -> str:
    """Which of query, key, value and output keep most of their effective rank, and the poorest head."""
    own = own[(own.keep == own.keep.min()) & (own.quantity == "head_effective_rank") & (own.dense > 0)]
    share = own.value / own.dense
    medians = share.groupby(own.detail).median().reindex(MATRICES).sort_values()
    listed = ", ".join(f"{matrix} {percent(value, 0)}" for matrix, value in medians.items())
    poorest = own.loc[share == share.min()].iloc[0]
    return (
        f"Of the effective rank that their parts of each matrix have in the dense model, heads keep in the "
        f"median: {listed}. Least is left of the {poorest.detail} of head {poorest['head']} in layer "
        f"{poorest.layer} ({poorest.value:.1f} of {poorest.dense:.1f}). These numbers are read off the "
        "weights: no choice of jets enters them."
    )


def _tests(compressed: pd.DataFrame) -> str:
    tests, told = int(compressed.q.notna().sum()), int((compressed.q < SIGNIFICANT).sum())
    seeds = int(compressed.seeds.max())
    trained = f"{seeds} trainings" if seeds > 1 else "one training of each model"
    return (
        f"Of {tests:,} changes tested, of all methods and keep ratios, {told:,} differ from zero at q < "
        f"{SIGNIFICANT:g} (Benjamini and Hochberg). Intervals hold 95 %, are paired on the same jets, of "
        f"{trained}, and are not corrected for their number."
    )


def _overall(own: pd.DataFrame) -> pd.DataFrame:
    return own[(own.layer == ALL) & (own["head"] == ALL)]


def _row(rows: pd.DataFrame, quantity: str) -> pd.Series:
    return rows[rows.quantity == quantity].iloc[0]


def _verdict(row: pd.Series, less: str, more: str, same: str) -> str:
    if row.high < 0:
        return less
    return more if row.low > 0 else same


def _name(row: pd.Series) -> str:
    name = str(row["name"])
    return NAMES.get(name, WORDS.get(name, name))


def _with_loss(row: pd.Series) -> str:
    return f"{_name(row)} {with_interval(row.loss, row.low, row.high, 100, 1)} %"


def _list(items: list) -> str:
    texts = [f"{item:g}" if isinstance(item, float) else str(item) for item in items]
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
