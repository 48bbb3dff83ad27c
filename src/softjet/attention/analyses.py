"""The analyses that read attention from one stream, and the table that each fills."""

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from softjet.attention.attribution import attribution
from softjet.attention.binary import binary
from softjet.attention.chance import Chance
from softjet.attention.focus import focus
from softjet.attention.partners import partners
from softjet.attention.parts import parts
from softjet.attention.planes import maps, planes_table, profile
from softjet.attention.statistics import statistics_table
from softjet.attention.stream import Statistic
from softjet.attention.sums import Sums
from softjet.part.model import ParticleTransformer

MAPS = "planes"
"""The table that is no table of statistics but of maps."""

Analyses = dict[str, dict[str, Statistic]]


def analyses(
    model: ParticleTransformer, columns: Collection[str], thresholds: Sequence[float], chance: Chance
) -> Analyses:
    """Statistics of every table.

    Parameters
    ----------
    model : ParticleTransformer
        Whose attention is read.
    columns : collection of str
        Of the jet tables; what needs others is left out.
    thresholds : sequence of float
        Largest weights above which a query counts as binary.
    chance : Chance
        By `softjet.attention.chance.tabulate`, for these thresholds.

    Returns
    -------
    dict of dict of Statistic
        By table and name: binary, parts, focus, partners, distance, planes. Names differ between tables too.
    """
    return {
        "binary": {"binary": binary(thresholds, chance)},
        "parts": parts(thresholds),
        "focus": {"focus": focus(columns)},
        "partners": {"partners": partners(columns), "attribution": attribution(model)},
        "distance": {"distance": profile()},
        MAPS: {MAPS: maps()},
    }


def flat(tables: Analyses) -> dict[str, Statistic]:
    """Statistics of all tables together, for one stream."""
    return {name: one for table in tables.values() for name, one in table.items()}


def fill_tables(
    tables: Analyses, trained: Mapping[str, Sums], untrained: Mapping[str, Sums]
) -> dict[str, pd.DataFrame]:
    """Tables of what two streams added up.

    Parameters
    ----------
    tables : dict of dict of Statistic
        By `analyses`.
    trained, untrained : mapping of str to Sums
        By `softjet.attention.stream.stream`, of the same jets.
    """
    filled = {
        table: statistics_table({name: trained[name] for name in own}, untrained)
        for table, own in tables.items()
        if table != MAPS
    }
    return filled | {MAPS: planes_table(trained[MAPS], untrained[MAPS])}
