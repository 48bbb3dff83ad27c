"""Up to which rank a matrix of low rank is faster than a dense one, on this machine."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from softjet.config.lowrank import Form
from softjet.latency.pairs import measure_pair
from softjet.latency.ratio import summarise
from softjet.lowrank.low_rank import Piece
from softjet.lowrank.pivot import PivotLinear
from softjet.lowrank.price import PARAMETERS
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
    form: Form = "pair",
) -> pd.DataFrame:
    """Time products with dense matrices against products with low-rank ones, in turns, rank by rank.

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
    form : Form
        What low-rank matrices are stored as.

    Returns
    -------
    DataFrame
        m, n, matrices, rows, precision, form, rank, parameters (kept, as a share of m n), then the columns of
        :func:`softjet.latency.summarise` (a dense, b low-rank; medians are of one matrix, nanoseconds_a and
        nanoseconds_b of all of the shape).
    """
    asked = [(shape, rank) for shape in shapes for rank in ranks_measured(*shape, parts, multiple, form)]
    found = []
    with Progress(len(asked), "time matrices of low rank", "ranks") as progress:
        for shape, rank in asked:
            found.append(_measured(shape, rank, shapes[shape], rows, samples, noise, dtype, form))
            progress.advance(note=f"{shape[0]} x {shape[1]} at rank {rank}")
    return pd.DataFrame(found)


def ranks_measured(m: int, n: int, parts: int, multiple: int = 1, form: Form = "pair") -> list[int]:
    """Ranks up to break-even of the parameters, of pairs m n / (m + n), in even parts.

    Parameters
    ----------
    m, n : int
        Shape of the matrix.
    parts : int
        Most ranks.
    multiple : int
        All are multiples of it, and there is one at least: ranks that are none may take longer than larger
        ones that are, and tell nothing of those that a recipe with this `rank_multiple` can choose. Of a
        matrix with a smaller side than that full rank is measured.
    form : Form
    """
    most = PARAMETERS.dense_from(m, n, form) // multiple
    ranks = (multiple * max(1, round(most * part / parts)) for part in range(1, parts + 1))
    return sorted({min(rank, m, n) for rank in ranks})


def _measured(
    shape: Shape,
    rank: int,
    matrices: int,
    rows: int,
    samples: int,
    noise: float,
    dtype: torch.dtype,
    form: Form,
) -> dict[str, object]:
    m, n = shape
    generator = torch.Generator().manual_seed(rank)
    x = torch.randn(rows, n, generator=generator).to(dtype)

    def weights(*sizes: Shape) -> list[Tensor]:
        return [torch.randn(*size, generator=generator).div_(n**0.5).to(dtype) for size in sizes]

    dense = [partial(functional.linear, weight=weight) for weight in weights(*[shape] * matrices)]
    low = [_low_rank(shape, rank, form, weights) for _ in range(matrices)]
    table = measure_pair(
        partial(_go_through, x, dense),
        partial(_go_through, x, low),
        samples,
        WARMUP,
        names=("dense", form),
        length=rows,
    )
    row = dict(summarise(table, ("dense", form), noise=noise).drop(columns=["batch", "length"]).iloc[0])
    each = {name: row[name] / matrices for name in ("median_a", "median_b")}
    precision = str(dtype).removeprefix("torch.")
    about = {"m": m, "n": n, "matrices": matrices, "rows": rows, "precision": precision, "form": form}
    return {**about, "rank": rank, "parameters": PARAMETERS(rank, m, n, form) / (m * n), **row, **each}


def _low_rank(
    shape: Shape, rank: int, form: Form, weights: Callable[..., list[Tensor]]
) -> Callable[[Tensor], Tensor]:
    m, n = shape
    if form == "pair":
        inner, outer = weights((rank, n), (m, rank))
        return partial(_pair, inner=inner, outer=outer)
    layer = PivotLinear(n, [Piece(m, rank)], bias=False).requires_grad_(False)
    inner, outer = weights((rank, n - rank), (m, rank))
    layer.inner[0], layer.outer[0] = (nn.Parameter(own, requires_grad=False) for own in (inner, outer))
    layer.order = torch.randperm(n, generator=torch.Generator().manual_seed(rank))[None]
    return layer


def _pair(x: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
    return functional.linear(functional.linear(x, inner), outer)


def _go_through(x: Tensor, layers: Sequence[Callable[[Tensor], Tensor]]) -> None:
    for layer in layers:
        layer(x)
