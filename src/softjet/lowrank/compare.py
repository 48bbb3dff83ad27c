"""Methods of rank learning beside the dense model and beside each other, at equal size.

Intervals hold 95 % (percentiles of a paired bootstrap): each resample draws examples, within strata, and
seeds, the same for all models, so that what two models share drops out. With one seed an interval holds the
choice of examples alone. With S seeds the deviations of drawn seeds from their mean are widened by
sqrt(S / (S - 1)), because the spread of so few is seen too small (J. Rao, C. Wu, J. Am. Stat. Assoc. 83
(1988) 231). Even so an interval of seeds alone, meant to hold 95 %, holds 77 % with three normal numbers and
87 % with five; `spread` shows what seeds do.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from softjet.config.lowrank import first_learned
from softjet.errors import InputError
from softjet.lowrank.resampling import Labels, Metric, Outputs, draw_counts

DENSE = "dense"

LEVEL = 0.95
RESAMPLES = 1000

COLUMNS = (
    "metric", "better", "change_is", "method", "keep", "against", "n", "seeds", "value", "value_low",
    "value_high", "reference", "change", "low", "high", "spread", "note",
)  # fmt: skip

FEWEST_EXAMPLES = 5
"""With fewer examples a bootstrap tells nothing of their spread, and there is no interval."""

NOT_MEASURED = "not measured: in one of the runs too few examples for this metric, or it is infinite"
NO_INTERVAL = f"no interval: fewer than {FEWEST_EXAMPLES} examples"


class Run(NamedTuple):
    """Outputs of a model that was trained by a method, to a keep ratio, from a seed."""

    method: str
    keep: float
    seed: int
    outputs: Outputs


def compare_methods(
    runs: Sequence[Run],
    labels: Labels,
    metrics: Mapping[str, Metric],
    strata: NDArray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 1,
) -> pd.DataFrame:
    """Every method beside the dense model, and every other method beside learned ranks at the same keep.

    Learned ranks are those of the first method of `softjet.config.lowrank.LEARNED` that was run at that keep
    with a seed of the other: soft thresholds, if they were.

    Values are means over the seeds that both models of a comparison have; of the intervals see above.

    Parameters
    ----------
    runs : sequence of Run
        Of one model, outputs (N, ...) of the same examples in the same order: logits (N, C), or for text
        tokens and their summed negative log-likelihood (N, 2). Those with the method "dense" are the
        reference; it should have been trained as long.
    labels : array, shape (N,)
        Handed to the metrics; of text any array of that length.
    metrics : mapping of str to Metric
        By name.
    strata : array, shape (N,), optional
        Examples are drawn within each of its values: the classes. None: all together.
    resamples : int
        Of the bootstrap.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        A row a metric, method, keep and model compared with: metric, better ("higher" or "lower"), change_is
        ("difference" or "ratio"), method, keep, against ("dense" or a method that learns ranks), n
        (examples), seeds (their number), value with value_low and value_high (of the method on its own),
        reference (the other model's value), change (value - reference, or value / reference) with low and
        high, spread (standard deviation of the change between seeds; NaN with one), note. What a metric
        cannot measure in every run, or what is infinite in one, is NaN, and so are intervals from fewer than
        `FEWEST_EXAMPLES`; note says so.

    Raises
    ------
    InputError
        A run given twice, outputs of another number of examples, no dense run with a seed of a method.
    """
    _check(runs, labels)
    strata = np.zeros(len(labels)) if strata is None else strata
    values = _resampled(runs, labels, metrics, strata, resamples, seed)
    places, n = _places(runs), len(labels)
    rows = [(name, *row) for name in metrics for row in _rows(metrics[name], values[name], places, n, seed)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(
    metric: Metric,
    values: NDArray,
    places: Mapping[tuple[str, float], Mapping[int, int]],
    examples: int,
    seed: int,
) -> Iterator[tuple[Any, ...]]:
    """Rows of a metric without its name, from its values (runs, 1 + resamples)."""
    kind = "ratio" if metric.ratio else "difference"
    for (method, keep), against in _pairs(places):
        shared = sorted(places[method, keep].keys() & places[against].keys())
        own, other = (values[[places[model][s] for s in shared]] for model in ((method, keep), against))
        found = _compare(own, other, metric.ratio, seed, examples)
        about = (metric.better, kind, method, keep, against[0], examples, len(shared))
        yield *about, *found, _note(found[0], examples)


def _check(runs: Sequence[Run], labels: Labels) -> None:
    names = [(run.method, run.keep, run.seed) for run in runs]
    dense = {run.seed for run in runs if run.method == DENSE}
    for run, name in zip(runs, names, strict=True):
        what = f"{run.method}-{run.keep}-{run.seed}"
        if names.count(name) > 1:
            raise InputError(what, "method, keep, seed", "is given twice; compare each run once")
        if len(run.outputs) != len(labels):
            problem = (
                f"are of {len(run.outputs)} examples, labels of {len(labels)}; evaluate all runs on the same"
            )
            raise InputError(what, "outputs", problem)
        if run.seed not in dense:
            raise InputError(what, "seed", "has no dense run; train the dense model as long with that seed")


def _places(runs: Sequence[Run]) -> dict[tuple[str, float], dict[int, int]]:
    """Place in `runs` by seed, by method and keep."""
    places: dict[tuple[str, float], dict[int, int]] = {}
    for place, run in enumerate(runs):
        places.setdefault((run.method, run.keep), {})[run.seed] = place
    return places


def _pairs(
    places: Mapping[tuple[str, float], Mapping[int, int]],
) -> Iterator[tuple[tuple[str, float], tuple[str, float]]]:
    """What is compared with what."""
    dense = next(model for model in places if model[0] == DENSE)
    for method, keep in places:
        yield (method, keep), dense
    for (method, keep), seeds in places.items():
        learned = first_learned(
            one for (one, at), own in places.items() if at == keep and own.keys() & seeds.keys()
        )
        if learned and method not in (DENSE, learned):
            yield (method, keep), (learned, keep)


def _resampled(
    runs: Sequence[Run],
    labels: Labels,
    metrics: Mapping[str, Metric],
    strata: NDArray,
    resamples: int,
    seed: int,
) -> dict[str, NDArray[np.floating]]:
    """Of each metric its values (runs, 1 + resamples); the first is that of the sample as it is."""
    pieces: dict[str, list[NDArray]] = {name: [] for name in metrics}
    for counts in draw_counts(strata, resamples, seed):
        for name, metric in metrics.items():
            pieces[name].append(np.array([metric.values(run.outputs, labels, counts) for run in runs]))
    return {name: np.concatenate(found, axis=1) for name, found in pieces.items()}


def _note(value: float, examples: int) -> str:
    if np.isnan(value):
        return NOT_MEASURED
    return "" if examples >= FEWEST_EXAMPLES else NO_INTERVAL


def _compare(own: NDArray, other: NDArray, ratio: bool, seed: int, examples: int) -> tuple[float, ...]:
    """From value to spread, of the values (seeds, 1 + resamples) of two models."""
    own, other = (np.where(np.isfinite(values), values, np.nan) for values in (own, other))
    if np.isnan(own[:, 0]).any() or np.isnan(other[:, 0]).any():
        return (np.nan,) * 8
    seeds, resamples = len(own), own.shape[1] - 1
    draws = np.random.default_rng([seed, seeds]).integers(seeds, size=(seeds, resamples))
    change = np.divide if ratio else np.subtract
    mine, theirs = _over_seeds(own, draws), _over_seeds(other, draws)
    changes = change(mine, theirs)
    if examples < FEWEST_EXAMPLES:
        mine[1:], changes[1:] = np.nan, np.nan
    spread = change(own[:, 0], other[:, 0]).std(ddof=1) if seeds > 1 else np.nan
    return (mine[0], *_interval(mine[1:]), theirs[0], changes[0], *_interval(changes[1:]), spread)


def _over_seeds(values: NDArray, draws: NDArray[np.integer]) -> NDArray:
    """Mean over seeds (1 + resamples,), over all of them first and then over those that were drawn."""
    mean = values.mean(0)
    drawn = np.take_along_axis(values[:, 1:], draws, axis=0).mean(0)
    widen = np.sqrt(len(values) / max(1, len(values) - 1))
    mean[1:] += widen * (drawn - mean[1:])
    return mean


def _interval(values: NDArray) -> tuple[float, float]:
    """Percentiles of what could be measured; a rare resample may have too few examples."""
    if np.isnan(values).all():
        return np.nan, np.nan
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def add_sizes(table: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """The table with columns of sizes, each the mean over the seeds of a method and keep.

    Parameters
    ----------
    table : DataFrame
        Of :func:`compare_methods`.
    sizes : DataFrame
        A row a run: method, keep, seed and any columns of numbers (keep_linears, keep_blocks, keep_total).

    Raises
    ------
    InputError
        A method and keep of the table without a size.
    """
    mean = sizes.drop(columns="seed").groupby(["method", "keep"], as_index=False).mean()
    joined = table.merge(mean, on=["method", "keep"], how="left", validate="many_to_one", indicator=True)
    lost = joined[joined["_merge"] != "both"]
    if len(lost):
        raise InputError("sizes", "method, keep", f"do not hold {lost.method.iloc[0]}-{lost.keep.iloc[0]}")
    return joined.drop(columns="_merge")
