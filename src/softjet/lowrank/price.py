"""What a matrix costs at a rank: its parameters, or the time that its products were measured to take."""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from softjet.config.lowrank import Form
from softjet.errors import InputError
from softjet.lowrank.factors import Factors, kept_parameters


class Price(Protocol):
    """Cost of an m x n matrix at a rank, and the rank from which it is kept dense."""

    def __call__(self, rank: int, m: int, n: int, form: Form = "pair") -> float:
        """Cost at a rank, in any unit; it never falls as the rank rises."""

    def dense_from(self, m: int, n: int, form: Form = "pair") -> int:
        """Least rank at which the form does not pay."""


class Parameters:
    """Parameters: min(r (m + n), m n) of a pair, r (m + n - r) of a pivot form."""

    def __call__(self, rank: int, m: int, n: int, form: Form = "pair") -> int:
        """Parameters at a rank."""
        return kept_parameters(rank, m, n, form)

    def dense_from(self, m: int, n: int, form: Form = "pair") -> int:
        """Break-even: of a pair m n / (m + n), rounded up; of a pivot form full rank."""
        return min(m, n) if form == "pivot" else math.ceil(m * n / (m + n))


class Times:
    """Times measured on this machine, between measured ranks interpolated.

    A form pays up to the largest rank measured faster than dense (its interval above 1) with all smaller
    ones, and never at or above the break-even of parameters.

    Parameters
    ----------
    table : DataFrame
        Of :func:`softjet.lowrank.crossover.measure_crossover`.

    Raises
    ------
    InputError
        No shape was measured, or one not at all for want of a quiet machine.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        if table.empty:
            raise InputError("table of times", "m, n", "holds no shape; measure the model's own")
        kinds = table[["m", "n", "form"]].drop_duplicates().to_numpy().tolist()
        measured = table[table["ratio"].notna()]
        self._known = {
            (m, n, form): _prices(m, n, form, measured.query("m == @m and n == @n and form == @form"))
            for m, n, form in kinds
        }

    def __call__(self, rank: int, m: int, n: int, form: Form = "pair") -> float:
        """Nanoseconds of the product with a matrix of this shape, over the rows that were measured."""
        return float(self._of(m, n, form)[rank])

    def dense_from(self, m: int, n: int, form: Form = "pair") -> int:
        """Rank behind the last one that pays; 1 where none does."""
        prices = self._of(m, n, form)
        return int((prices[1:] < prices[-1]).sum()) + 1

    def _of(self, m: int, n: int, form: Form) -> NDArray[np.float64]:
        if (m, n, form) not in self._known:
            problem = f"was not measured as a {form}; take the model's own table"
            raise InputError("table of times", f"{m} x {n}", problem)
        return self._known[m, n, form]


def _prices(m: int, n: int, form: Form, rows: pd.DataFrame) -> NDArray[np.float64]:
    """Nanoseconds at every rank from 0 to min(m, n): rising to the last that pays, then of the dense."""
    if rows.empty:
        raise InputError("table of times", f"{m} x {n}", "was too noisy; measure on a quiet machine")
    rows, dense = rows.sort_values("rank"), float(rows["median_a"].median())
    pays = (rows["low"] > 1).to_numpy().cumprod().astype(bool)
    last = min(int(rows["rank"][pays].max()) if pays.any() else 0, Parameters().dense_from(m, n, form) - 1)
    prices = np.full(min(m, n) + 1, dense)
    # Of a rank measured slower than a larger one no more is known than that both take about as long.
    rising = isotonic_regression(dense / rows["ratio"].to_numpy()).x
    prices[: last + 1] = np.interp(np.arange(last + 1), rows["rank"], rising)
    return prices


PARAMETERS = Parameters()


def total_price(factors: Sequence[Factors], ranks: Sequence[int], price: Price) -> float:
    """Cost of matrices at these ranks."""
    return sum(price(rank, *f.shape, f.form) for rank, f in zip(ranks, factors, strict=True))


def dense_price(factors: Sequence[Factors], price: Price) -> float:
    """Cost of matrices that are all dense."""
    return total_price(factors, [min(f.shape) for f in factors], price)
