"""Up to which rank two thin products are faster than a thick one, on this machine."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from softjet.latency.pairs import measure_pair
from softjet.latency.ratio import summarise
from softjet.progress import Progress

WARMUP = 3
"""Calls of each before the clock counts."""

Shape = tuple[int, int]
"""(m, n) of a matrix that makes m outputs of n inputs."""


def measure_crossover(
    shapes: Mapping[Shape, int],
    rows: int,
    samples: int,
    parts: int = 8,
    noise: float = 0.2,
    dtype: torch.dtype = torch.float32,
    multiple: int = 1,
) -> pd.DataFrame:
    """Time products with dense matrices against products with pairs of factors, in turns, rank by rank.

    A call goes through as many matrices of a shape as the model has, so that their weights come from the same
    cache or memory as in the model.

    Parameters
    ----------
    shapes : mapping of (m, n) to int
        How many matrices of each shape there are.
    rows : int
        Rows of a product: tokens, or particles, of all examples of a call.
    samples : int
        Timed calls of each.
    parts : int
        Ranks measured for a shape, see :func:`ranks_measured`.
    noise : float
        See :func:`softjet.latency.summarise`.
    dtype : torch.dtype
    multiple : int
        See :func:`ranks_measured`.

    Returns
    -------
    DataFrame
        m, n, matrices, rows, precision, rank, then the columns of :func:`softjet.latency.summarise` (a
        dense, b the pair; medians are of one matrix, nanoseconds_a and nanoseconds_b of all of the shape).
    """
    asked = [(shape, rank) for shape in shapes for rank in ranks_measured(*shape, parts, multiple)]
    found = []
    with Progress(len(asked), "time pairs of factors", "ranks") as progress:
        for shape, rank in asked:
            found.append(_measured(shape, rank, shapes[shape], rows, samples, noise, dtype))
            progress.advance(note=f"{shape[0]} x {shape[1]} at rank {rank}")
    return pd.DataFrame(found)


def ranks_measured(m: int, n: int, parts: int, multiple: int = 1) -> list[int]:
    """Ranks up to break-even of the parameters, m n / (m + n), in even parts.

    Parameters
    ----------
    m, n : int
        Shape of the matrix.
    parts : int
        Most ranks.
    multiple : int
        All are multiples of it, and there is one at least: ranks that are none may take longer than larger
        ones that are, and tell nothing of those that a recipe with this `rank_multiple` can choose.
    """
    most = math.ceil(m * n / (m + n)) // multiple
    return sorted({multiple * max(1, round(most * part / parts)) for part in range(1, parts + 1)})


def _measured(
    shape: Shape, rank: int, matrices: int, rows: int, samples: int, noise: float, dtype: torch.dtype
) -> dict[str, object]:
    m, n = shape
    generator = torch.Generator().manual_seed(rank)
    x = torch.randn(rows, n, generator=generator).to(dtype)
    dense, inner, outer = (
        [torch.randn(*size, generator=generator).div_(n**0.5).to(dtype) for _ in range(matrices)]
        for size in ((m, n), (rank, n), (m, rank))
    )
    calls = partial(_dense, x, dense), partial(_pairs, x, list(zip(inner, outer, strict=True)))
    table = measure_pair(*calls, samples, WARMUP, names=("dense", "pair"), length=rows)
    row = dict(summarise(table, ("dense", "pair"), noise=noise).drop(columns=["batch", "length"]).iloc[0])
    each = {name: row[name] / matrices for name in ("median_a", "median_b")}
    precision = str(dtype).removeprefix("torch.")
    about = {"m": m, "n": n, "matrices": matrices, "rows": rows, "precision": precision}
    return {**about, "rank": rank, **row, **each}


def _dense(x: Tensor, weights: Sequence[Tensor]) -> None:
    for weight in weights:
        functional.linear(x, weight)


def _pairs(x: Tensor, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    for inner, outer in pairs:
        functional.linear(functional.linear(x, inner), outer)
