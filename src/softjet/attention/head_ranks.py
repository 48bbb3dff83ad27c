"""What each head's query, key, value and output were given of each matrix: rank, effective rank."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from softjet.part.model import ParticleTransformer

MATRICES = ("query", "key", "value", "output")

NUMERICAL = 1e-6
"""A singular value counts towards the rank above this share of the largest of the whole matrix."""


class HeadSpectrum(NamedTuple):
    """Singular values of one head's part of a matrix.

    layer : int
        Place of the block; class blocks count on behind the particle blocks.
    module, piece : str
        The layer that holds the matrix, and its name there, as in the table of ranks.
    matrix : str
        One of `MATRICES`.
    head : int
    values : (D,)
        Singular values of the head's D rows (query, key, value) or D columns (output), falling.
    largest : float
        Largest singular value of the whole matrix.
    """

    layer: int
    module: str
    piece: str
    matrix: str
    head: int
    values: Tensor
    largest: float

    @property
    def rank(self) -> int:
        """Singular values above `NUMERICAL`."""
        return self.above(NUMERICAL * self.largest)

    def above(self, threshold: float) -> int:
        """Singular values above a threshold in the units of the matrix."""
        return int((self.values > threshold).sum())

    @property
    def effective_rank(self) -> float:
        """exp(entropy) of the singular values as shares of their sum (Roy, Vetterli 2007); 0 of no matrix."""
        total = self.values.sum()
        if total <= NUMERICAL * self.largest:
            return 0.0
        return float(torch.special.entr(self.values / total).sum().exp())


def head_spectra(model: ParticleTransformer) -> Iterator[HeadSpectrum]:
    """Singular values of every head's part of every attention matrix of a model, dense or compressed.

    Parameters
    ----------
    model : ParticleTransformer
        Its linear layers may be any modules that multiply with a matrix and add an offset.
    """
    stacks = {"blocks": model.blocks, "class_blocks": model.class_blocks}
    blocks = [(f"{stack}.{i}", block) for stack, of in stacks.items() for i, block in enumerate(of)]
    for layer, (name, block) in enumerate(blocks):
        attention: Any = block.attention
        module = f"{name}.attention.in_proj"
        for piece, weight in zip(MATRICES, matrix_of(attention.in_proj).chunk(3), strict=False):
            yield from _parts(layer, module, piece, piece, weight, attention.heads)
        module, weight = f"{name}.attention.out_proj", matrix_of(attention.out_proj)
        yield from _parts(layer, module, "", "output", weight.T, attention.heads)


def matrix_of(layer: nn.Module) -> Tensor:
    """The matrix that a linear layer multiplies with, float64 (out, in), read off its answers.

    So nothing has to be known of how the layer keeps it.
    """
    precise: Any = copy.deepcopy(layer).double().cpu()
    with torch.no_grad():
        identity = torch.eye(precise.in_features, dtype=torch.float64)
        return (precise(identity) - precise(torch.zeros_like(identity[:1]))).T


def head_table(
    model: ParticleTransformer, dense: ParticleTransformer, thresholds: Mapping[tuple[str, str], float]
) -> pd.DataFrame:
    """Ranks that heads of a compressed model were given, beside those of the dense model.

    Parameters
    ----------
    model, dense : ParticleTransformer
        Of one shape.
    thresholds : mapping of (module, piece) to float
        Learned thresholds, in the units of each matrix; empty where none were learned.

    Returns
    -------
    DataFrame
        quantity, detail (one of `MATRICES`), layer, head, value, dense. Quantities: `head_rank`, singular
        values of the head's part above `NUMERICAL` of the largest of the matrix; `head_effective_rank`;
        `head_above_threshold`, singular values above the matrix's threshold, in both models the same, where
        one was learned.
    """
    rows = []
    for one, other in zip(head_spectra(model), head_spectra(dense), strict=True):
        place = {"detail": one.matrix, "layer": one.layer, "head": one.head}
        numbers = {
            "head_rank": (one.rank, other.rank),
            "head_effective_rank": (one.effective_rank, other.effective_rank),
        }
        threshold = thresholds.get((one.module, one.piece))
        if threshold is not None:
            numbers["head_above_threshold"] = (one.above(threshold), other.above(threshold))
        rows += [
            {"quantity": quantity, **place, "value": float(value), "dense": float(reference)}
            for quantity, (value, reference) in numbers.items()
        ]
    return pd.DataFrame(rows)


def learned_thresholds(ranks: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Thresholds by module and piece, from a table of ranks; matrices without one are left out."""
    if "threshold_raw" not in ranks:
        return {}
    known = ranks[ranks["threshold_raw"].notna()]
    return dict(zip(zip(known["module"], known["piece"], strict=True), known["threshold_raw"], strict=True))


def _parts(
    layer: int, module: str, piece: str, matrix: str, weight: Tensor, heads: int
) -> Iterator[HeadSpectrum]:
    largest = float(torch.linalg.matrix_norm(weight, 2))
    for head, values in enumerate(torch.linalg.svdvals(weight.unflatten(0, (heads, -1)))):
        yield HeadSpectrum(layer, module, piece, matrix, head, values, largest)
