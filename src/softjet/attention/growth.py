"""How binary attention grows along a training: the statistics of its checkpoints on the same jets."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from softjet.attention.binary import binary
from softjet.attention.statistics import ALL, statistics_table
from softjet.attention.tables import chance_of, read_attention
from softjet.config.attention import Attention
from softjet.part.model import ParticleTransformer

START = 0
"""Steps of the network before its training, where growth begins."""


def growth_table(
    networks: Mapping[int, ParticleTransformer],
    untrained: ParticleTransformer,
    paths: Sequence[str | Path],
    settings: Attention,
    start: ParticleTransformer | None = None,
) -> tuple[pd.DataFrame, float]:
    """Statistics of binary attention after so many steps of a training, overall and by layer.

    Parameters
    ----------
    networks : mapping of int to ParticleTransformer
        Checkpoints by the steps they have seen.
    untrained : ParticleTransformer
        The untrained twin, beside which all stand.
    paths : sequence of path
        Jet tables (Parquet).
    settings : Attention
        With `growth_jets`, of which each class has an equal part.
    start : ParticleTransformer, optional
        The network before the first step, of a fine-tuning; else that is `untrained`.

    Returns
    -------
    table : DataFrame
        step and the columns of `softjet.attention.statistics.statistics_table` but for its tests; a row a
        statistic, layer (-1: all) and checkpoint, the first of step 0. All see the same jets and resamples.
    residual : float
        Largest residual (`softjet.attention.recording.Layer`) of all networks.
    """
    settings = settings.model_copy(update={"statistics_jets": settings.growth_jets})
    statistic = {"binary": {"binary": binary(settings.thresholds, chance_of(settings, _most(untrained)))}}
    fresh = read_attention(untrained, paths, settings, statistic)
    later = networks if start is None else {START: start, **networks}
    read = {START: fresh} | {
        step: read_attention(network, paths, settings, statistic) for step, network in later.items()
    }
    tables = [
        _overall(statistics_table(one.sums, fresh.sums)).assign(step=step) for step, one in read.items()
    ]
    return pd.concat(tables, ignore_index=True), max(one.residual for one in (fresh, *read.values()))


def _most(network: ParticleTransformer) -> int:
    return network.config.max_particles


def _overall(table: pd.DataFrame) -> pd.DataFrame:
    """Rows over all heads, classes and multiplicities, without tests among cells."""
    rows = table[(table[["head", "label", "n_low"]] == ALL).all(axis=1)]
    return rows.drop(columns=["head", "label", "class", "n_low", "q_null", "q_untrained"])
