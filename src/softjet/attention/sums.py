"""Sums over jets that a stream adds up, with a bootstrap over jets that needs no second look at them.

In the Poisson bootstrap each jet counts 0, 1, 2, ... times in a resample, with the probabilities of a Poisson
distribution of mean 1, whatever the other jets do (J. A. Hanley, B. MacGibbon, Comput. Methods Programs
Biomed. 83 (2006) 57). How often is drawn from the jet's own key, so neither batches nor the order of jets
matter, and two networks that see the same jets share their resamples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import poisson
from torch import Tensor

from softjet.attention.reading import mixed
from softjet.attention.statistics import MULTIPLICITIES, Floats

BUFFER = 2048
"""Jets whose columns wait to be added together: one large product instead of many small ones."""

BUFFER_BYTES = 2**25
"""Size of what waits at most, where columns are many."""

_CUMULATIVE = np.round(poisson.cdf(np.arange(12), 1) * 2.0**53)
"""Where 53 random bits give 0, 1, ... draws; more than 12 come up once in 6e9."""


ANY, POSITIVE, SHARE = (-math.inf, math.inf), (0.0, math.inf), (0.0, 1.0)
"""Limits of a ratio."""


class Ratio(NamedTuple):
    """What a statistic adds for B jets and H heads: its value is the sum of `top` over the sum of `bottom`.

    name : str
    top, bottom : (B, H)
    null, null_error : (B, H), optional
        The expected `top` of random logits, and a bound on the standard error with which it is known (that of
        a sum is the sum of them at most).
    threshold : float
        Where the statistic has one.
    limits : (float, float)
        What the value, and so the ends of its interval, cannot lie beyond.
    """

    name: str
    top: Tensor
    bottom: Tensor
    null: Tensor | None = None
    null_error: Tensor | None = None
    threshold: float = float("nan")
    limits: tuple[float, float] = ANY


COLUMNS = ("top", "bottom", "null", "null_error")
"""What a ratio adds."""


class _Place(NamedTuple):
    """Of a tensor: which ratio has it, and under which name."""

    row: int
    name: str


def draws(key: NDArray[np.uint64], resamples: int, seed: int) -> Floats:
    """How often each jet counts: once in the sample itself, and in each resample.

    Parameters
    ----------
    key : (B,)
        Of the jets (`softjet.attention.reading.Jets`).
    resamples, seed : int
        Number of resamples, and their seed.

    Returns
    -------
    (1 + resamples, B)
        The first row is 1, the others are Poisson of mean 1.
    """
    place = mixed(np.arange(resamples, dtype=np.uint64) + (np.uint64(seed) << np.uint64(32)))
    bits = mixed(key[None] ^ place[:, None]) >> np.uint64(11)
    counts = np.searchsorted(_CUMULATIVE, bits.astype(np.float64), side="right")
    return np.concatenate([np.ones((1, len(key))), counts])


@dataclass
class Sums:
    """Sums of the columns of ratios, by class and by multiplicity, of the jets and of their resamples.

    Attributes
    ----------
    names : list of (str, float)
        Name and threshold of each of S ratios.
    limits : list of (float, float)
        Of each.
    columns : (S, 4) int64
        Place of top, bottom, null and its error of each among the K different columns; -1 for none.
    by_class : (C, 1 + R, K, L, H)
        L layers and H heads. Row 0 of axis 1 is of the jets, the others of the R resamples.
    by_length : (C, M, 1 + R, K, L)
        By class and bin of multiplicity.
    by_layer : bool
        False if all layers share what is summed; L is then 1.
    jets, jets_of_length : (C, 1 + R), (C, M, 1 + R)
        Jets, and how many they are in each resample.
    found, found_of_length : (C, K), (C, M, K)
        Jets in which each column is not zero in all layers and heads.
    """

    resamples: int
    seed: int
    by_layer: bool = True
    classes: tuple[str, ...] = ()
    names: list[tuple[str, float]] = field(default_factory=list)
    limits: list[tuple[float, float]] = field(default_factory=list)
    columns: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    by_class: Floats = field(default_factory=lambda: np.zeros(0))
    by_length: Floats = field(default_factory=lambda: np.zeros(0))
    jets: Floats = field(default_factory=lambda: np.zeros(0))
    jets_of_length: Floats = field(default_factory=lambda: np.zeros(0))
    found: Floats = field(default_factory=lambda: np.zeros(0))
    found_of_length: Floats = field(default_factory=lambda: np.zeros(0))
    _places: list[_Place] = field(default_factory=list)
    _waiting: list[tuple[Floats, NDArray, NDArray, NDArray]] = field(default_factory=list)

    def add(
        self,
        layers: Sequence[Sequence[Ratio]],
        key: NDArray[np.uint64],
        label: NDArray[np.int64],
        n: NDArray[np.int64],
        classes: tuple[str, ...],
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        layers : sequence over layers of sequences of Ratio
            The same ratios in every layer and batch.
        key, label, n : (B,)
            Keys, classes and particles of the jets.
        classes : tuple of str
            Names of the classes.
        """
        if not self.names:
            self._begin(layers, classes)
        values = torch.stack([torch.stack(_taken(ratios, self._places), 1) for ratios in layers], 2)
        self._waiting.append((values.cpu().double().numpy(), key, label, n))
        jets = sum(len(part[1]) for part in self._waiting)
        size = sum(part[0].nbytes for part in self._waiting)
        if jets >= BUFFER or size >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Add what waits; call it after the last batch."""
        if not self._waiting:
            return
        values, key, label, n = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting.clear()
        counts, bins = draws(key, self.resamples, self.seed), length_bin(n)
        found = (values != 0).any((2, 3))
        np.add.at(self.found, label, found)
        np.add.at(self.found_of_length, (label, bins), found)
        _add(self.by_class, self.jets, values, counts, label)
        cells, jets = (whole.reshape(-1, *whole.shape[2:]) for whole in (self.by_length, self.jets_of_length))
        _add(cells, jets, values.sum(-1), counts, label * len(MULTIPLICITIES) + bins)

    def _begin(self, layers: Sequence[Sequence[Ratio]], classes: tuple[str, ...]) -> None:
        self._places, self.columns = _unique(layers[0])
        self.names = [(ratio.name, ratio.threshold) for ratio in layers[0]]
        self.limits = [ratio.limits for ratio in layers[0]]
        self.classes = classes
        heads = layers[0][0].top.shape[1]
        shape, resamples = (len(self._places), len(layers), heads), 1 + self.resamples
        self.by_class = np.zeros((len(classes), resamples, *shape))
        bins = (len(classes), len(MULTIPLICITIES), resamples)
        self.by_length = np.zeros((*bins, *shape[:2]))
        self.jets = np.zeros((len(classes), resamples))
        self.jets_of_length = np.zeros(bins)
        self.found = np.zeros((len(classes), len(self._places)))
        self.found_of_length = np.zeros((*bins[:2], len(self._places)))


def length_bin(n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place in `MULTIPLICITIES` of the bin that each number of particles lies in."""
    return np.searchsorted(MULTIPLICITIES, n, side="right") - 1


def _add(sums: Floats, jets: Floats, values: Floats, counts: Floats, group: NDArray[np.int64]) -> None:
    for one in np.unique(group):
        these = np.flatnonzero(group == one)
        flat, added = sums[one].reshape(len(counts), -1), values[these].reshape(len(these), -1)
        # In place: the sums are tens of megabytes, and few jets at a time are added to them.
        torch.from_numpy(flat).addmm_(torch.from_numpy(counts[:, these]), torch.from_numpy(added))
        jets[one] += counts[:, these].sum(1)


def _unique(ratios: Sequence[Ratio]) -> tuple[list[_Place], NDArray[np.int64]]:
    """Where the different tensors of some ratios stand, and each ratio's top, bottom and null among them."""
    found: dict[int, int] = {}
    places: list[_Place] = []
    columns = np.full((len(ratios), len(COLUMNS)), -1)
    for row, ratio in enumerate(ratios):
        for place, name in enumerate(COLUMNS):
            tensor = getattr(ratio, name)
            if tensor is None:
                continue
            if id(tensor) not in found:
                found[id(tensor)] = len(places)
                places.append(_Place(row, name))
            columns[row, place] = found[id(tensor)]
    return places, columns


def _taken(ratios: Sequence[Ratio], places: Sequence[_Place]) -> list[Tensor]:
    """Tensors that stand in these places."""
    return [getattr(ratios[row], name).expand(ratios[row].top.shape) for row, name in places]
