"""Chapter on compression: methods beside dense and beside each other, ranks learned, parameters kept."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from softjet.figures.chapters.shared import Settings, shown_run
from softjet.figures.compression_findings import (
    change_words,
    compression_findings,
    metric_words,
    removed_finding,
)
from softjet.figures.pareto import DENSE, METHODS
from softjet.figures.report import Heading, Part, Picture, Table, Text, percent, with_interval

_COMPARISON_CAPTION = (
    "Every method, keep ratio and metric. All models, the dense one too, were trained for the same number of "
    "steps, learning of ranks included. Changes are of the method against the model named, with paired 95 % "
    "bootstrap intervals over examples and seeds; sizes are what was achieved after rounding."
)


_REMOVED_CAPTION = (
    "The largest share that can go before a metric is worse than dense by more than a margin (of a ratio in "
    "units of the value): by the change as measured, and by the whole interval."
)


def compression_parts(results: Path, model: str, settings: Settings) -> Iterator[Part]:
    """What smaller models cost in quality, by method, and which ranks were learned.

    Parameters
    ----------
    results : path
        Folder of the workflow's results: lowrank/{model}/comparison.parquet and removed.parquet,
        lowrank/{model}/{run}/ranks.parquet and history.parquet; pictures in figures/{model}.
    model : str
        Name of the compressed model.
    settings : mapping
        Its section of the configuration, with `note` (said beside its numbers, may be empty) and `shown`, the
        run whose ranks are shown: "soft-threshold-0.5-1".
    """
    here, run = results / "lowrank" / model, settings["shown"]
    comparison, removed = (pd.read_parquet(here / f"{name}.parquet") for name in ("comparison", "removed"))
    ranks, history = (pd.read_parquet(here / run / f"{name}.parquet") for name in ("ranks", "history"))
    yield Heading(
        f"{model}, made from {settings['base']}" + f" ({settings['note']})" * bool(settings["note"])
    )
    yield Text(_how(settings, ranks, history))
    method, keep = shown_run(settings)
    yield from map(Text, compression_findings(comparison, keep, method))
    first = removed["metric"].iloc[0]
    kind = comparison.loc[comparison["metric"] == first, "change_is"].iloc[0]
    yield Text(removed_finding(removed, first, kind))
    yield Picture(
        results / "figures" / model / "pareto.png",
        "Quality against size. Above the values, below their paired change from the dense model trained as "
        "long; methods of one size are moved apart a little.",
    )
    yield Table(_comparison_rows(comparison), _COMPARISON_CAPTION, folded=True)
    yield Table(_removed_rows(removed), _REMOVED_CAPTION, folded=True)
    captions = {
        "budget": "Parameters and loss along rank learning and recovery.",
        "ranks": "Rank that each matrix was given, and the share of its parameters that stay.",
        "spectra": "Size of each direction in units of its matrix's scale, about their median at the start: "
        "solid where kept, dotted where dropped, with the learned thresholds. The size is a singular value, "
        "with whitened soft thresholds what the outputs lose without the direction, with Fisher's what the "
        "loss does (in units common to all matrices).",
    }
    folder = results / "figures" / model / run
    yield from (
        Picture(folder / f"{name}.png", f"{caption} Run {run}.") for name, caption in captions.items()
    )


_OF = {
    "linears": "the parameters of the compressed matrices",
    "blocks": "the parameters of the blocks",
    "total": "all parameters",
    "time": "the time that products with the compressed matrices take, measured on this machine",
}
"""What a budget is of, in words."""


def _how(settings: Settings, ranks: pd.DataFrame, history: pd.DataFrame) -> str:
    steps = history.groupby("phase", sort=False).size()
    last = history.iloc[-1]
    return (
        f"Keep ratios are of {_OF[settings['learning']['of']]}. Run {settings['shown']} took "
        + ", ".join(f"{count} steps of {phase}" for phase, count in steps.items())
        + f", and every other method as many in all. It keeps {percent(last.keep_linears)} of the compressed "
        f"matrices, {percent(last.keep_blocks)} of the blocks, {percent(last.keep_total)} of the whole "
        f"model. The mean rank of the {len(ranks)} matrices is {ranks['rank'].mean():.0f}, "
        f"{int(ranks.dense.sum())} of them stay dense."
    )


def _removed_rows(table: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "metric": metric_words(row["metric"]),
            "method": METHODS[row["method"]][0],
            "margin": f"{row['margin']:g}",
            "removed": percent(row["removed"], 0),
            "shown": percent(row["shown"], 0),
        }
        for row in table.to_dict("records")
    ]
    return pd.DataFrame(rows)


def _comparison_rows(table: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "method": METHODS[row["method"]][0],
            "keep": f"{row['keep']:g}",
            "metric": metric_words(row["metric"]),
            "value [95 % interval]": row["note"]
            or with_interval(row["value"], row["value_low"], row["value_high"]),
            "against": row["against"].replace("-", " "),
            "its value": "" if row["note"] else f"{row['reference']:.3f}",
            "change [95 % interval]": "" if row["note"] else change_words(row),
            "of blocks": percent(row["keep_blocks"]),
            "of total": percent(row["keep_total"]),
            "n": row["n"],
            "seeds": row["seeds"],
        }
        for row in table[table["method"] != DENSE].to_dict("records")
    ]
    return pd.DataFrame(rows)
