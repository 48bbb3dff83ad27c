"""What compression changes in attention and in what states hold: a table, paired on the same jets."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from softjet.attention.compressed import Sample
from softjet.attention.compressed_runs import Comparison, Run, comparisons, pairs_of
from softjet.attention.compressed_sheets import Sheet, beside, common_sheet, probe_sheets, sharpness_sheet
from softjet.attention.correlations import corrected
from softjet.attention.statistics import ALL, LEVEL
from softjet.attention.sums import draws
from softjet.config.joined import Joined

Floats = NDArray[np.float64]

COLUMNS = (
    "run", "method", "keep", "seed", "seeds", "quantity", "detail", "layer", "head", "value", "dense",
    "change", "low", "high", "loss", "loss_low", "loss_high", "p", "q", "n",
)  # fmt: skip


def compressed_table(
    runs: Mapping[str, Run],
    train: Sample,
    test: Sample,
    heads: Mapping[str, pd.DataFrame],
    settings: Joined,
) -> pd.DataFrame:
    """What every run changes beside the dense model that is trained as long from the same seed.

    Parameters
    ----------
    runs : mapping of str to Run
    train : Sample
        Jets that probes are fitted on, by `softjet.attention.compressed.read_states`.
    test : Sample
        Other jets, by `softjet.attention.compressed.compare_attention`, with the pairs of `pairs_of`.
    heads : mapping of str to DataFrame
        Of compressed runs, by `softjet.attention.head_ranks.head_table`.
    settings : Joined
        Thresholds, resamples and seed.

    Returns
    -------
    DataFrame
        run, method, keep, seed (-1: mean over seeds; single ones follow where there are several), seeds
        (their number), quantity, detail, layer, head (-1: all), value, dense, change (value - dense) and its
        95 % interval low and high, loss (1 - value / dense) with its interval, p (two-sided, normal, that the
        change is chance), q (the same among all rows of means, by Benjamini and Hochberg), n (jets).
        docs/joined.md says what each quantity is. Intervals resample jets, the same for all models, and
        seeds; what is read off the weights alone has none.
    """
    counts = draws(test.key, settings.bootstrap, settings.seed)
    probes = probe_sheets(runs, train, test, settings)
    sharp = {name: sharpness_sheet(test, name, counts, settings.thresholds) for name in runs}
    own = {name: beside(sharp[name], probes[name]) for name in runs}
    against = comparisons(runs)
    common = {pair: common_sheet(test, pair, counts) for pair in pairs_of(against)}
    frames: list[pd.DataFrame] = []
    for members in _groups(runs, against):
        sides = [_sides(name, against[name], own, common) for name in members]
        frames += _frames(runs, members, sides, heads, settings.seed)
    table = pd.concat(frames, ignore_index=True)
    table["q"] = corrected(table["p"].where(table["seed"] == ALL).to_numpy(np.float64))
    return table[list(COLUMNS)]


def _groups(runs: Mapping[str, Run], against: Mapping[str, Comparison]) -> Iterator[list[str]]:
    """Runs that differ in their seed alone."""
    for method, keep in dict.fromkeys((runs[name].method, runs[name].keep) for name in against):
        yield [name for name in against if runs[name][:2] == (method, keep)]


def _sides(
    name: str, one: Comparison, own: Mapping[str, Sheet], common: Mapping[tuple[str, str], Sheet]
) -> tuple[Sheet, Sheet]:
    """A run and its dense model; what they have in common stands beside what two dense models have."""
    return (
        beside(own[name], common[name, one.dense]),
        beside(own[one.dense], common[one.other, one.dense]),
    )


def _frames(
    runs: Mapping[str, Run],
    members: Sequence[str],
    sides: Sequence[tuple[Sheet, Sheet]],
    heads: Mapping[str, pd.DataFrame],
    seed: int,
) -> Iterator[pd.DataFrame]:
    """Rows of runs that differ in their seed: of their mean, and of each where there are several."""
    of_heads = [heads[name] for name in members if name in heads]
    method, keep, _ = runs[members[0]]
    value, dense = (over_seeds(np.stack([side[i].values for side in sides]), seed) for i in (0, 1))
    parts = [(f"{method}-{keep}", ALL, Sheet(sides[0][0].cells, value), dense, of_heads)]
    if len(members) > 1:
        parts += [
            (name, runs[name].seed, value, dense.values, [heads[name]] if name in heads else [])
            for name, (value, dense) in zip(members, sides, strict=True)
        ]
    for name, own_seed, sheet, reference, tables in parts:
        frame = pd.concat([_change_rows(sheet, reference), *_head_rows(tables)], ignore_index=True)
        seeds = len(members) if own_seed == ALL else 1
        yield frame.assign(run=name, method=method, keep=keep, seed=own_seed, seeds=seeds)


def over_seeds(values: Floats, seed: int) -> Floats:
    """Mean over seeds (1 + R, C) of values (S, 1 + R, C); each resample draws S seeds.

    Deviations of drawn seeds from their mean are widened by sqrt(S / (S - 1)), because the spread of so few
    is seen too small (J. Rao, C. Wu, J. Am. Stat. Assoc. 83 (1988) 231).
    """
    seeds, resamples = len(values), values.shape[1] - 1
    drawn = np.random.default_rng([seed, seeds]).integers(seeds, size=(seeds, resamples))
    mean = values.mean(0)
    chosen = np.take_along_axis(values[:, 1:], drawn[..., None], axis=0).mean(0)
    mean[1:] += np.sqrt(seeds / max(1, seeds - 1)) * (chosen - mean[1:])
    return mean


def _change_rows(sheet: Sheet, dense: Floats) -> pd.DataFrame:
    frame = pd.DataFrame(sheet.cells, columns=["quantity", "detail", "layer", "head", "n"])
    change = sheet.values - dense
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(change[1:], ends, axis=0)
    loss = _relative_loss(sheet.values, dense)
    loss_low, loss_high = np.quantile(loss[1:], ends, axis=0)
    return frame.assign(
        value=sheet.values[0], dense=dense[0], change=change[0], low=low, high=high,
        loss=loss[0], loss_low=loss_low, loss_high=loss_high, p=_p_values(change),
    )  # fmt: skip


def _relative_loss(values: Floats, dense: Floats) -> Floats:
    """1 - value / dense of (1 + R, C); NaN where the dense model has nothing to lose.

    That is where its own interval reaches zero.
    """
    measurable = (dense[0] > 0) & (np.quantile(dense[1:], (1 - LEVEL) / 2, axis=0) > 0)
    # The few resamples beyond the interval that are not above zero count as the least that is.
    least = np.where(dense > 0, dense, np.inf).min(0)
    return np.where(measurable, 1 - values / np.where(measurable, np.maximum(dense, least), 1), np.nan)


def _p_values(change: Floats) -> Floats:
    """Two-sided, from the spread over resamples; 1 where nothing differs in any of them."""
    error = change[1:].std(0)
    ratio = np.divide(abs(change[0]), error, out=np.full_like(error, np.nan), where=error > 0)
    return np.where((error == 0) & (change[0] == 0), 1.0, 2 * norm.sf(ratio))


def _head_rows(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Means over seeds of what is read off the weights, which no choice of jets changes."""
    if not tables:
        return []
    place = ["quantity", "detail", "layer", "head"]
    frame = pd.concat(tables).groupby(place, as_index=False, sort=False)[["value", "dense"]].mean()
    measurable = frame["dense"].where(frame["dense"] > 0)
    change, loss = frame["value"] - frame["dense"], 1 - frame["value"] / measurable
    return [frame.assign(change=change, loss=loss, n=0)]
