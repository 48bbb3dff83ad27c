"""Embedding tables whose rank is learned, and the plain low-rank tables that they become."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from softjet.lowrank.factors import Factors


class SoftThresholdEmbedding(nn.Module):
    """An embedding table whose rank is learned: rows of U are looked up and multiplied with diag(x) V.

    Parameters
    ----------
    embedding : nn.Embedding
        The table it starts from, at full rank.
    factors : Factors, optional
        Its matrix (rows, width); shared with an output layer that is tied to the table.
    """

    def __init__(self, embedding: nn.Embedding, factors: Factors | None = None) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = embedding.num_embeddings, embedding.embedding_dim
        self.padding_idx = embedding.padding_idx
        self.table = factors or Factors(embedding.weight)

    def factors(self) -> list[Factors]:
        """Its matrix."""
        return [self.table]

    @property
    def weight(self) -> Tensor:
        """The table that it looks up, shape (rows, width)."""
        return self.table.weight()

    def forward(self, ids: Tensor) -> Tensor:
        """Look up; shapes (...) -> (..., width)."""
        rows = functional.embedding(ids, self.table.left, self.padding_idx)
        return rows @ self.table.scaled_right()


class LowRankEmbedding(nn.Module):
    """An embedding table as the product of a narrow table and a matrix.

    Parameters
    ----------
    rows, width, rank : int
    padding_idx : int, optional
        Row that lookups give no gradient, as of nn.Embedding.
    """

    def __init__(self, rows: int, width: int, rank: int, padding_idx: int | None = None) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.padding_idx = rows, width, padding_idx
        self.outer = nn.Parameter(torch.empty(rows, rank))
        self.inner = nn.Parameter(torch.empty(rank, width))

    def extra_repr(self) -> str:
        """Sizes and rank, for print(model)."""
        return f"{self.num_embeddings}, {self.embedding_dim}, rank={len(self.inner)}"

    @property
    def weight(self) -> Tensor:
        """The table that it looks up, shape (rows, width)."""
        return self.outer @ self.inner

    def weights(self) -> int:
        """Parameters."""
        return self.outer.numel() + self.inner.numel()

    def forward(self, ids: Tensor) -> Tensor:
        """Look up; shapes (...) -> (..., width)."""
        return functional.embedding(ids, self.outer, self.padding_idx) @ self.inner
