"""How binary attention is, with intervals, beside random logits and an untrained network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from softjet.errors import InputError

ALL = -1
"""In the columns layer, head and label: taken over all of them."""

FEWEST_JETS = 5
"""With fewer jets in a class, resampling jets says nothing about the spread: intervals are absent."""

LEVEL = 0.95
"""Coverage of every interval."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """Sums over the queries of each jet, layer and head.

    statistics : (name, threshold) of each of S statistics; threshold is NaN where it has none.
    real, null : (S, J, L, H) sums over queries, of the record and of its random null.
    n : (J,) particles of each jet, which is the number of queries in every layer and head.
    label : (J,) class of each jet.
    """

    statistics: Sequence[tuple[str, float]]
    real: Floats
    null: Floats
    n: NDArray[np.int64]
    label: NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """What one row of the table is about: layer, head and label (ALL for all), and its jets (J,) bool."""

    layer: int
    head: int
    label: int
    jets: NDArray[np.bool_] = field(repr=False)


def attention_statistics(
    queries: str | Path, untrained: str | Path, thresholds: Sequence[float], bootstrap: int, seed: int
) -> pd.DataFrame:
    """How binary the attention is, overall, by layer, by head and by class.

    Parameters
    ----------
    queries, untrained : path
        Queries tables of the trained and of the untrained network, on the same sample of jets.
    thresholds : sequence of float
        A query counts as binary where its largest weight exceeds one of these.
    bootstrap : int
        Resamples of jets.
    seed : int
        Of the resamples.

    Returns
    -------
    DataFrame
        Columns statistic, threshold, layer, head, label (-1: all), value, low, high, and the same with
        null_ and untrained_ before them, n_jets, n_queries. Statistics: `above`, share of queries whose
        largest weight exceeds the threshold; `above_other`, the same on another particle than the query;
        `effective_keys`, mean of exp(entropy); `self`, share of queries whose largest weight is on
        themselves; `mutual`, share of queries whose key's largest weight comes back to them.
        Intervals hold 95 %, by resampling jets within each class.

    Raises
    ------
    InputError
        The two tables are not of the same jets.
    """
    trained, fresh = jet_sums(queries, thresholds), jet_sums(untrained, thresholds)
    if not (np.array_equal(trained.n, fresh.n) and np.array_equal(trained.label, fresh.label)):
        raise InputError(untrained, "jet", f"is not the sample of {queries}; record both on the same jets")
    weights = resample(trained.label, bootstrap, seed)
    rows = [row for group in _groups(trained) for row in _group_rows(trained, fresh, group, weights)]
    return pd.DataFrame(rows)


def jet_sums(queries: str | Path, thresholds: Sequence[float]) -> Sums:
    """Read a queries table, a row group at a time, into sums over the queries of each jet, layer and head."""
    names = [(name, float(t)) for name in ("above", "above_other") for t in thresholds]
    names += [(name, np.nan) for name in ("effective_keys", "self", "mutual")]
    with pq.ParquetFile(queries) as file:
        shape = _cells(file)
        real, null = np.zeros((2, len(names), np.prod(shape)))
        n, label = np.zeros(shape[0], np.int64), np.zeros(shape[0], np.int64)
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group).to_pandas()
            n[rows["jet"]], label[rows["jet"]] = rows["n"], rows["label"]
            cell = np.ravel_multi_index([rows[name] for name in ("jet", "layer", "head")], shape)
            for sums, prefix in ((real, ""), (null, "null_")):
                for place, score in enumerate(_scores(rows, prefix, thresholds)):
                    sums[place] += np.bincount(cell, score, len(sums[place]))
    return Sums(names, real.reshape(-1, *shape), null.reshape(-1, *shape), n, label)


def _cells(file: pq.ParquetFile) -> tuple[int, ...]:
    """Jets, layers and heads in a queries table, by the extremes that Parquet keeps of each column."""
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    names = file.schema_arrow.names
    return tuple(
        1 + max(group.column(names.index(name)).statistics.max for group in groups)
        for name in ("jet", "layer", "head")
    )


def resample(label: NDArray[np.int64], times: int, seed: int) -> Floats:
    """How often each jet is drawn in each bootstrap resample.

    Jets are drawn within their class, because the sample has a fixed number of each.

    Parameters
    ----------
    label : (J,)
        Class of each jet.
    times : int
        Resamples.
    seed : int
        Of the draws.

    Returns
    -------
    (times, J)
        Counts; a class of fewer than FEWEST_JETS has NaN.
    """
    generator = np.random.default_rng(seed)
    counts = np.full((times, len(label)), np.nan)
    for one in np.unique(label):
        jets = np.flatnonzero(label == one)
        if len(jets) >= FEWEST_JETS:
            counts[:, jets] = generator.multinomial(len(jets), np.full(len(jets), 1 / len(jets)), times)
    return counts


def ratio_interval(top: Floats, bottom: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Sum of `top` over sum of `bottom`, with the percentile interval of resampled jets.

    Parameters
    ----------
    top : (J, S)
        Sums of S statistics in each jet.
    bottom : (J,)
        Queries in each jet.
    weights : (R, J)
        By `resample`.

    Returns
    -------
    value, low, high : (S,)
    """
    resampled = (weights @ top) / (weights @ bottom)[:, None]
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return top.sum(0) / bottom.sum(), low, high


def _scores(rows: pd.DataFrame, prefix: str, thresholds: Sequence[float]) -> Iterator[NDArray]:
    """What each row adds to each statistic, in the order of `Sums.statistics`."""
    largest = rows[f"{prefix}max"].to_numpy()
    itself = rows[f"{prefix}argmax"].to_numpy() == rows["query"].to_numpy()
    above = [largest > np.float32(threshold) for threshold in thresholds]
    yield from above
    yield from (large & ~itself for large in above)
    yield np.exp(rows[f"{prefix}entropy"].to_numpy(np.float64))
    yield itself
    yield rows[f"{prefix}mutual"].to_numpy()


def _groups(sums: Sums) -> Iterator[Group]:
    """Overall, each layer, each head of each layer, each class."""
    layers, heads = sums.real.shape[2:]
    every = np.ones(len(sums.n), bool)
    yield Group(ALL, ALL, ALL, every)
    yield from (Group(layer, ALL, ALL, every) for layer in range(layers))
    yield from (Group(layer, head, ALL, every) for layer in range(layers) for head in range(heads))
    yield from (Group(ALL, ALL, int(label), sums.label == label) for label in np.unique(sums.label))


def _group_rows(trained: Sums, fresh: Sums, group: Group, weights: Floats) -> Iterator[dict[str, object]]:
    """Rows of the table for one group, one a statistic."""
    layers = slice(None) if group.layer == ALL else slice(group.layer, group.layer + 1)
    heads = slice(None) if group.head == ALL else slice(group.head, group.head + 1)
    maps = trained.real[0, 0, layers, heads].size
    queries = trained.n[group.jets] * maps
    columns: dict[str, Floats] = {}
    for prefix, sums in (("", trained.real), ("null_", trained.null), ("untrained_", fresh.real)):
        top = sums[:, group.jets, layers, heads].sum((2, 3)).T
        value, low, high = ratio_interval(top, queries.astype(np.float64), weights[:, group.jets])
        columns |= {prefix + "value": value, prefix + "low": low, prefix + "high": high}
    columns["null"], columns["untrained"] = columns.pop("null_value"), columns.pop("untrained_value")
    for place, (name, threshold) in enumerate(trained.statistics):
        yield {
            "statistic": name, "threshold": threshold,
            "layer": group.layer, "head": group.head, "label": group.label,
            **{column: values[place] for column, values in columns.items()},
            "n_jets": int(group.jets.sum()), "n_queries": int(queries.sum()),
        }  # fmt: skip
