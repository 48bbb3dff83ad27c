"""Figure of the paired time measurement: every sample of both variants, and their ratio."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from softjet.figures.style import COLOURS, LINES, new_figure, save_figure

TORCH = "torch"

COLUMNS = 3
"""Panels beside each other at most."""

MARKERS = ("o", "s")
"""Of the two variants."""


def by_runtime(row: Mapping[Any, Any] | pd.Series) -> str:
    """What computes the networks of a row of ratios, as words behind a batch; nothing for PyTorch."""
    runtime = row.get("runtime", TORCH)
    return "" if runtime == TORCH else f" by {runtime}"


def draw_latency(
    samples: pd.DataFrame,
    ratios: pd.DataFrame,
    target: str | Path,
    names: tuple[str, str] = ("dense", "compressed"),
    units: tuple[str, str] = ("jets", "particles"),
) -> None:
    """Milliseconds of every call in the order measured, a panel a batch size and runtime, and their ratios.

    Parameters
    ----------
    samples : DataFrame
        Of :func:`softjet.latency.measure_pair`; several batch sizes and runtimes, one device.
    ratios : DataFrame
        Of :func:`softjet.latency.summarise`, of the same samples.
    target : str or path
        PNG; a PDF is written beside it.
    names : pair of str
        The variants.
    units : pair of str
        What a call is given, and what its length counts: ("windows", "tokens") of text.
    """
    panels = len(ratios) + 1
    columns = min(panels, COLUMNS)
    figure, axes = new_figure(-(-panels // columns), columns, width=3.2, height=3.5, squeeze=False)
    for panel in axes.flat[panels:]:
        panel.remove()
    for panel, (_, row) in zip(axes.flat, ratios.iterrows(), strict=False):
        own = (samples[["batch", "runtime"]] == row[["batch", "runtime"]]).all(axis=1)
        _draw_samples(panel, samples[own], names)
        _explain(panel, _setting(row, units))
    for panel in axes[:, 0]:
        panel.set_ylabel("time of a call (ms)")
    last = axes.flat[panels - 1]
    _draw_ratios(last, ratios, names)
    last.set_xlabel(f"{units[0]} a call")
    save_figure(figure, target)


def _draw_samples(panel: Axes, samples: pd.DataFrame, names: tuple[str, str]) -> None:
    for i, name in enumerate(names):
        rows = samples[samples["variant"] == name]
        pairs, times = rows["order"].to_numpy() // 2, rows["nanoseconds"].to_numpy() / 1e6
        median = float(np.median(times))
        panel.plot(
            pairs,
            times,
            MARKERS[i],
            color=COLOURS[i],
            markersize=3.5,
            label=f"{name}: median {median:.1f} ms",
        )
        panel.axhline(median, color=COLOURS[i], linestyle=LINES[i], linewidth=1)
    _cut(panel, samples["nanoseconds"].to_numpy() / 1e6)
    panel.set_xlabel("pair, in the order measured")


def _cut(panel: Axes, times: NDArray[np.float64]) -> None:
    """End the axis before a few calls that were interrupted, and would squeeze all others into a line."""
    highest = 1.6 * np.quantile(times, 0.9)
    panel.set_ylim(0, highest)
    if hidden := int((times > highest).sum()):
        calls = "1 call" if hidden == 1 else f"{hidden} calls"
        note = f"{calls} of up to {times.max():.3g} ms above"
        panel.text(0.95, 0.95, note, ha="right", va="top", fontsize=7.5, transform=panel.transAxes)


def _explain(panel: Axes, setting: str) -> None:
    # Above the panel: a slow call may lie anywhere in it.
    panel.legend(
        title=setting, title_fontsize=8.5, alignment="left", loc="lower left", bbox_to_anchor=(0, 1),
        borderpad=0, borderaxespad=0.3,
    )  # fmt: skip


def _draw_ratios(panel: Axes, ratios: pd.DataFrame, names: tuple[str, str]) -> None:
    for place, (ratio, low, high) in enumerate(ratios[["ratio", "low", "high"]].to_numpy(float)):
        if np.isnan(ratio):
            panel.text(place, 1.0, "too noisy", rotation=90, ha="center", va="center")
            continue
        spread = [[ratio - low], [high - ratio]]
        panel.errorbar(place, ratio, spread, fmt="o", color="black", capsize=4)
        panel.annotate(f"{ratio:.2f}", (place, ratio), (7, 0), textcoords="offset points", va="center")
    panel.axhline(1, color="0.4", linestyle=":", linewidth=1)
    labels = ratios["batch"].astype(str)
    if ratios["runtime"].nunique() > 1:
        labels += "\n" + ratios["runtime"].str.replace(" ", "\n")
    panel.set_xticks(range(len(ratios)), labels)
    panel.tick_params(axis="x", which="minor", bottom=False, top=False)
    panel.set_xlim(-0.6, len(ratios) - 0.2)
    panel.margins(y=0.3)
    panel.set_ylabel(f"{names[0]} / {names[1]} time (above 1: faster)")
    panel.set_title("median of pairs, 95 % interval", loc="left", fontsize=8.5)


def _setting(row: pd.Series, units: tuple[str, str]) -> str:
    given, counted = units
    what = given.removesuffix("s") if row["batch"] == 1 else given
    threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
    where = f"{threads}, {row['runtime']} on {row['device']}"
    return f"{row['batch']} {what} of up to {row['length']} {counted}\n{where}, n = {row['pairs']} pairs"
