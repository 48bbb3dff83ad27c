"""Numbers of one model, or of two, with their resamples over jets."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from softjet.attention.compressed import SHARED, Sample
from softjet.attention.observables import OBSERVABLES
from softjet.attention.probes import ALL_JETS, WITHIN, State, fit_probe, usable
from softjet.attention.statistics import ALL
from softjet.attention.sums import draws
from softjet.config.joined import Joined

Floats = NDArray[np.float64]

PROBES = {ALL_JETS: "", WITHIN: "_within"}
"""What the names of probes end with."""


class Sheet(NamedTuple):
    """Values (1 + R, C) of C cells: of the jets, and of R resamples; and quantity ... head, n of each."""

    cells: list[tuple[str, str, int, int, int]]
    values: Floats


def beside(*sheets: Sheet) -> Sheet:
    """Cells of several sheets of the same resamples in one."""
    cells = [cell for sheet in sheets for cell in sheet.cells]
    return Sheet(cells, np.concatenate([sheet.values for sheet in sheets], axis=1))


def sharpness_sheet(test: Sample, name: str, counts: Floats, thresholds: Sequence[float]) -> Sheet:
    """Shares of queries above each threshold, and mean effective number of keys, of one model.

    Parameters
    ----------
    test : Sample
    name : str
        Of the model.
    counts : (1 + R, J)
        How often each jet counts.
    thresholds : sequence of float
        Those that the sample was read with.
    """
    kinds = [("above", f"{threshold:g}") for threshold in thresholds]
    return _per_query(test, test.sharpness[name], counts, [*kinds, ("effective_keys", "")])


def common_sheet(test: Sample, pair: tuple[str, str], counts: Floats) -> Sheet:
    """Mean agreement of the attention of two models, and that of independent draws (`SHARED`)."""
    return _per_query(test, test.common[pair], counts, [(name, "") for name in SHARED])


def _per_query(test: Sample, sums: NDArray, counts: Floats, kinds: Sequence[tuple[str, str]]) -> Sheet:
    """Means over queries of sums (J, K, L, H): overall, by layer, and by head."""
    layers, heads = sums.shape[2:]
    queries = counts @ test.n
    means = (counts @ sums.reshape(len(sums), -1).astype(np.float64)) / queries[:, None]
    means = means.reshape(len(counts), len(kinds), layers, heads)
    parts = (means.mean((2, 3))[..., None], means.mean(3), means.reshape(*means.shape[:2], -1))
    places = [(ALL, ALL), *((layer, ALL) for layer in range(layers)), *product(range(layers), range(heads))]
    cells = [(*kind, *place, len(test.n)) for kind in kinds for place in places]
    return Sheet(cells, np.concatenate(parts, axis=2).reshape(len(counts), -1))


def probe_sheets(names: Iterable[str], train: Sample, test: Sample, settings: Joined) -> dict[str, Sheet]:
    """Held-out R^2 of probes of every observable from each layer's pooled state and from the class token."""
    fitted_on, tested = (
        usable(sample.readings(), f"{name} jets") for name, sample in (("validation", train), ("test", test))
    )
    counts = draws(tested.key, settings.bootstrap, settings.seed)
    sheets = {}
    for name in names:
        x, y = (readings.networks[name].states.astype(np.float64) for readings in (fitted_on, tested))
        token, cells, values = x.shape[1] - 1, [], []
        for place, (scope, ending) in product(range(1, token + 1), PROBES.items()):
            state = State(name, "", place - 1, x[:, place], y[:, place])
            quantity, layer = ("probe_token", ALL) if place == token else ("probe_layer", place - 1)
            values.append(fit_probe(state, fitted_on, tested, scope, counts).r2)
            cells += [(quantity + ending, one, layer, ALL, len(tested.label)) for one in OBSERVABLES]
        sheets[name] = Sheet(cells, np.concatenate(values, axis=1))
    return sheets
