"""Which statistics stand in which table, and the tables of a network beside its untrained twin."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from softjet.attention.attribution import attribution
from softjet.attention.binary import binary
from softjet.attention.chance import Chance, tabulate
from softjet.attention.distribution import distribution
from softjet.attention.focus import focus
from softjet.attention.partners import partners
from softjet.attention.parts import parts
from softjet.attention.planes import maps, planes_table, profile
from softjet.attention.reading import JetReader
from softjet.attention.statistics import statistics_table
from softjet.attention.stream import Statistic, Streamed, stream
from softjet.config.attention import Attention
from softjet.part.model import ParticleTransformer

MAPS = "planes"
"""The table that `planes_table` makes; the others are made by `statistics_table`."""


def statistics_by_table(
    model: ParticleTransformer, columns: Collection[str], settings: Attention, chance: Chance
) -> dict[str, dict[str, Statistic]]:
    """Statistics by name, by table; no name stands in two tables.

    Parameters
    ----------
    model : ParticleTransformer
        Whose attention is read.
    columns : collection of str
        Of the jet tables; what needs others is left out.
    settings : Attention
        Thresholds and seed.
    chance : Chance
        By `chance_of`.
    """
    return {
        "binary": {"binary": binary(settings.thresholds, chance)},
        "weights": {"weights": distribution(settings.seed)},
        "parts": parts(settings.thresholds),
        "focus": {"focus": focus(columns)},
        "partners": {"partners": partners(columns), "attribution": attribution(model)},
        "distance": {"distance": profile()},
        MAPS: {MAPS: maps()},
    }


def chance_of(settings: Attention, most: int) -> Chance:
    """Random logits for jets of up to `most` particles."""
    return tabulate(settings.thresholds, most, settings.seed)


def columns_of(paths: Sequence[str | Path]) -> set[str]:
    """Columns that all of some jet tables have."""
    return set.intersection(*(set(pq.read_schema(path).names) for path in paths))


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
        By name, as `softjet.attention.statistics.statistics_table` makes them; planes as
        `softjet.attention.planes.planes_table` does.
    residual : float
        Largest residual (`softjet.attention.recording.Layer`).
    """
    columns, chance = columns_of(paths), chance_of(settings, model.config.max_particles)
    here, there = (
        read_attention(one, paths, settings, statistics_by_table(one, columns, settings, chance))
        for one in (model, untrained)
    )
    by_table = statistics_by_table(model, columns, settings, chance)
    tables = {
        table: statistics_table({name: here.sums[name] for name in own}, there.sums)
        for table, own in by_table.items()
        if table != MAPS
    }
    tables[MAPS] = planes_table(here.sums[MAPS], there.sums[MAPS])
    return tables, max(here.residual, there.residual)
