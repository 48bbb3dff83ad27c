"""What random logits give: expectations by number of keys and spread of the logits, without drawing each row.

A row of random logits is Gaussian, shifted and scaled to exactly the variance of the recorded row
(`softjet.attention.nulls` draws such rows). Its expectations depend on the number of keys n and on the spread
sigma alone: they are drawn once on a grid and interpolated. What concerns only which key is the largest is
exact, since every key is as likely and rows are independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial, log, log10

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

ROWS = 30_000
"""Random rows a number of keys; all spreads share them."""

SPREADS = 48
"""Spreads on the grid, evenly in the logarithm from the least to the largest."""

LEAST, LARGEST = 0.05, 30.0
"""Ends of the spreads; beyond them the value at the end is taken."""

STEP = 1.19
"""Ratio of neighbouring numbers of keys on the grid, from where that is more than 1."""

MOST_CHOSEN = 24
"""More queries than this choose the same key with a probability below 1e-15, of up to 1,000 keys."""


@dataclass(frozen=True)
class Chance:
    """Expectations of random rows on a grid.

    Attributes
    ----------
    names : tuple of str
        `above_{t}` for each threshold t: probability that the largest weight exceeds it; `extreme`: that no
        weight lies between .1 and .9; `effective_keys`: mean of exp(entropy); `largest`: mean largest weight.
    sizes, spreads : (N,), (S,)
        Numbers of keys and spreads of the grid.
    values, errors : (N, S, T)
        Mean over the random rows, and its standard error.
    """

    names: tuple[str, ...]
    sizes: Tensor
    spreads: Tensor
    values: Tensor
    errors: Tensor

    def expect(self, n: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over each jet's queries, interpolated linearly in the logarithms of n and spread.

        Parameters
        ----------
        n : (B,)
            Particles of each jet: the keys of its rows, and its queries; they stand before its padding.
        variance : (B, H, P)
            Of the logits of each row. None is NaN.

        Returns
        -------
        values, errors : (B, H, T)
            Sums of the expectations, and of the standard errors that they have from the grid's random rows.
        """
        both = torch.cat((self.values, self.errors), -1).to(n.device)
        of_jet = _between(both, *_place(self.sizes, n))
        sums = np.zeros((*variance.shape[:2], of_jet.shape[-1]), np.float32)
        grid, spread, size = (part.cpu().contiguous().numpy() for part in (of_jet, variance, n))
        _add_up(grid, spread, size, sums)
        return tuple(torch.from_numpy(sums).to(variance.device).chunk(2, -1))  # type: ignore[return-value]


# One look at each row: operations of PyTorch would make a dozen numbers of each, and pass over all of them.
@njit(cache=True, nogil=True)
def _add_up(
    of_jet: NDArray[np.float32],
    variance: NDArray[np.float32],
    n: NDArray[np.int64],
    sums: NDArray[np.float32],
) -> None:
    """Add to sums (B, H, T) what each row's spread gives on the jet's own grid (B, S, T)."""
    last, step = of_jet.shape[1] - 1, log(LARGEST / LEAST) / (SPREADS - 1)
    for jet in range(len(n)):
        for head in range(variance.shape[1]):
            for query in range(n[jet]):
                spread = (0.5 * log(max(variance[jet, head, query], LEAST**2)) - log(LEAST)) / step
                spread = min(spread, last)
                below = min(int(spread), last - 1)
                share = np.float32(spread - below)
                here, there = of_jet[jet, below], of_jet[jet, below + 1]
                for t in range(len(here)):
                    sums[jet, head, t] += here[t] + share * (there[t] - here[t])


def tabulate(thresholds: Sequence[float], most: int, seed: int, rows: int = ROWS) -> Chance:
    """Draw random rows for every number of keys and spread of the grid.

    Parameters
    ----------
    thresholds : sequence of float
        Of `above`.
    most : int
        Largest number of keys.
    seed : int
        Of the draws.
    rows : int
        Random rows a number of keys.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = _sizes(most)
    spreads = torch.logspace(log10(LEAST), log10(LARGEST), SPREADS)
    moments = torch.stack([_moments(n, spreads, thresholds, rows, generator) for n in sizes])
    mean, square = moments.unbind(1)
    errors = ((square - mean.square()).clamp_min(0) / rows).sqrt()
    names = (*(f"above_{t:g}" for t in thresholds), "extreme", "effective_keys", "largest")
    return Chance(names, torch.tensor(sizes), spreads, mean.float(), errors.float())


def _sizes(most: int) -> list[int]:
    """1, 2, 3, ... and then in even steps of the logarithm, to `most`."""
    sizes = [1]
    while sizes[-1] < most:
        sizes.append(max(sizes[-1] + 1, round(sizes[-1] * STEP)))
    return sizes


def _moments(
    n: int, spreads: Tensor, thresholds: Sequence[float], rows: int, generator: torch.Generator
) -> Tensor:
    """Mean and mean square of every number of a row, (2, S, T)."""
    gauss = torch.randn(rows, n, generator=generator)
    centred = gauss - gauss.mean(1, keepdim=True)
    unit = centred / centred.square().mean(1, keepdim=True).sqrt().clamp_min(torch.finfo(gauss.dtype).tiny)
    below = unit - unit.amax(1, keepdim=True)
    numbers = torch.stack([_numbers(below * spread, thresholds) for spread in spreads]).double()
    return torch.stack((numbers.mean(1), numbers.square().mean(1)))


def _numbers(logits: Tensor, thresholds: Sequence[float]) -> Tensor:
    """What the grid is about, of rows whose largest logit is 0, (rows, T)."""
    terms = logits.exp()
    total = terms.sum(1)
    largest = 1 / total
    entropy = total.log() - (terms * logits).sum(1) / total
    above = [largest > threshold for threshold in thresholds]
    return torch.stack([*above, is_extreme(largest), entropy.exp(), largest], 1)


def is_extreme(largest: Tensor) -> Tensor:
    """Rows in which no weight lies between .1 and .9, from the largest weight alone.

    Above .9 the largest leaves less than .1 to the others; below .1 all others are below it.
    """
    return (largest > 0.9) | (largest < 0.1)


def most_chosen(most: int) -> Tensor:
    """Expected number of queries on the most chosen key when each of n queries chooses one of n keys.

    The probability that no key is chosen more than m times is n! / n^n times the coefficient of x^n in
    (sum over k to m of x^k / k!)^n; powers of a polynomial by the recurrence of J. C. P. Miller.

    Parameters
    ----------
    most : int
        Largest n.

    Returns
    -------
    (most + 1,)
        By n; 0 for n = 0.
    """
    n = torch.arange(most + 1, dtype=torch.float64)
    whole = (torch.lgamma(n + 1) - n * n.clamp_min(1).log()).exp()
    expected = (n > 0).double()
    for m in range(1, min(most, MOST_CHOSEN)):
        power = _power(n, m)
        expected += 1 - (power.diagonal() * whole).clamp(0, 1)
    return expected


def _power(n: Tensor, m: int) -> Tensor:
    """Coefficients of (sum over k to m of x^k / k!)^n, (N, N), for each n."""
    power = torch.zeros(len(n), len(n), dtype=torch.float64)
    power[:, 0] = 1
    for j in range(1, len(n)):
        for k in range(1, min(j, m) + 1):
            power[:, j] += (n * k - j + k) / (j * float(factorial(k))) * power[:, j - k]
    return power


def _place(grid: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Place of the grid point below each x, and how far x lies towards the next, in the logarithm."""
    points, x = grid.to(x.device).log().float(), x.log().float().contiguous()
    below = (torch.searchsorted(points, x, right=True) - 1).clamp(0, max(0, len(points) - 2))
    above = (below + 1).clamp_max(len(points) - 1)
    width = (points[above] - points[below]).clamp_min(torch.finfo(points.dtype).tiny)
    return below, ((x - points[below]) / width).clamp(0, 1)


def _between(values: Tensor, below: Tensor, share: Tensor) -> Tensor:
    """Rows of `values` between a place and the next."""
    above = (below + 1).clamp_max(len(values) - 1)
    return torch.lerp(values[below], values[above], share[:, None, None])
