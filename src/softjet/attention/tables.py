"""Which statistics stand in which table, and the tables of a network beside its untrained twin."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from softjet.attention.binary import binary
from softjet.attention.chance import tabulate
from softjet.attention.parts import parts
from softjet.attention.reading import JetReader
from softjet.attention.statistics import statistics_table
from softjet.attention.stream import Statistic, Streamed, stream
from softjet.config.attention import Attention
from softjet.part.model import ParticleTransformer


def statistics_by_table(settings: Attention, most: int) -> dict[str, dict[str, Statistic]]:
    """Statistics by name, by table.

    Parameters
    ----------
    settings : Attention
        Thresholds, and the seed of what is drawn.
    most : int
        Particles of the longest jet.
    """
    chance = tabulate(settings.thresholds, most, settings.seed)
    return {"binary": {"binary": binary(settings.thresholds, chance)}, "parts": parts(settings.thresholds)}


def read_attention(
    model: ParticleTransformer,
    paths: Sequence[str | Path],
    settings: Attention,
    statistics: dict[str, dict[str, Statistic]],
) -> Streamed:
    """Run a network over the jets of some files, once for the statistics of all tables.

    Parameters
    ----------
    model : ParticleTransformer
    paths : sequence of path
        Jet tables (Parquet).
    settings : Attention
        Number of jets, batch size, largest residual accepted, bootstrap and seed.
    statistics : dict
        By `statistics_by_table`.

    Raises
    ------
    ArithmeticError
        A residual is above the bound.
    """
    jets = JetReader(paths, settings.statistics_jets, settings.seed, model.config, settings.batch_size)
    every = {name: one for table in statistics.values() for name, one in table.items()}
    return stream(model, jets, every, settings.bootstrap, settings.seed, settings.residual, jets.n_jets)


def attention_tables(
    model: ParticleTransformer,
    untrained: ParticleTransformer,
    paths: Sequence[str | Path],
    settings: Attention,
) -> tuple[dict[str, pd.DataFrame], float]:
    """All tables of a network beside its untrained twin, and the largest residual of both.

    Parameters
    ----------
    model, untrained : ParticleTransformer
        Of the same shape.
    paths, settings
        As of `read_attention`.

    Returns
    -------
    tables : dict of DataFrame
        By name, as `softjet.attention.statistics.statistics_table` makes them.
    residual : float
        Largest |out_proj(A V) - block output|.
    """
    by_table = statistics_by_table(settings, model.config.max_particles)
    here, there = (read_attention(one, paths, settings, by_table) for one in (model, untrained))
    tables = {
        table: statistics_table({name: here.sums[name] for name in own}, there.sums)
        for table, own in by_table.items()
    }
    return tables, max(here.residual, there.residual)
