"""Particles of many jets as rows without padding, and groups of jets that are padded for attention alone."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from softjet.part.pairs import Pairs, symmetric_bias

GROUP = 32
"""Jets whose attention is taken together: from short to long, so that little is padding."""

ALIGNED = 8
"""On a GPU particles are filled up to a multiple of so many: PyTorch's fused attention wants its bias so."""


class Moves(NamedTuple):
    """Where rows come from, and where their gradients do.

    Parameters
    ----------
    there : Tensor, int64, shape (m,)
        Which of n rows stands in each of m places.
    back : Tensor, int64, shape (n,)
        From which of the m places each row gets its gradient; with `padded` m for none.
    padded : bool
    """

    there: Tensor
    back: Tensor
    padded: bool = False

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows in their places, (n, C) -> (m, C)."""
        return _Moved.apply(rows, self)


class _Moved(torch.autograd.Function):
    """Autograd would add gradients up row by row, and fill, copy and permute where one look-up is enough."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, moves: Moves) -> Tensor:
        ctx.moves = moves
        return rows.index_select(0, moves.there)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        if ctx.moves.padded:
            upstream = torch.cat((upstream, upstream.new_zeros(1, upstream.shape[1])))
        return upstream.index_select(0, ctx.moves.back), None


class Group(NamedTuple):
    """Jets that are padded together to the longest of them.

    At padding stands another particle: padded keys get no attention, and padded queries are asked by nobody.

    Parameters
    ----------
    real : Tensor, bool, shape (B, P)
    bias : Tensor, shape (B, H, P, P)
        Attention bias; -inf for padded keys, so that they get no attention.
    padding : Moves
        Of its rows to particles with padding.
    splitting : Moves
        Of the pieces of D channels in its rows of queries, keys and values to jets and heads.
    joining : Moves
        Of what attention gives back to rows.
    """

    real: Tensor
    bias: Tensor
    padding: Moves
    splitting: Moves
    joining: Moves

    def padded(self, rows: Tensor) -> Tensor:
        """Its rows (n, C) with padding, shape (B, P, C)."""
        return self.padding(rows).unflatten(0, self.real.shape)

    def split(self, rows: Tensor) -> Tensor:
        """Queries, keys and values of its rows (n, 3 H D); shape (3, B, H, P, D)."""
        jets, heads, most = self.bias.shape[:3]
        pieces = rows.unflatten(1, (3 * heads, -1)).flatten(0, 1)
        return self.splitting(pieces).view(3, jets, heads, most, -1)

    def joined(self, attended: Tensor) -> Tensor:
        """Its rows, heads side by side; shapes (B, H, P, D) -> (n, H D)."""
        pieces = self.joining(attended.flatten(0, 2))
        return pieces.view(-1, attended.shape[1] * attended.shape[3])


def rows_of(groups: Sequence[Group], rows: Tensor) -> Iterator[tuple[Group, Tensor]]:
    """Each group with its part of the rows of the batch."""
    # At once: of slices one by one each would give a gradient as large as all.
    return zip(groups, rows.split([len(group.padding.back) for group in groups]), strict=True)


def grouped(real: Tensor, pairs: Pairs, embedded: Tensor) -> list[Group]:
    """Cut a batch into groups.

    Parameters
    ----------
    real : Tensor, bool, shape (B, P)
        False for padding. The rows of the batch are its particles, jet by jet.
    pairs : Pairs
        Its pairs.
    embedded : Tensor, shape (n_pairs, H)
        Their attention bias.
    """
    size = group_size(len(real), real.device.type)
    ends, groups = _pair_ends(pairs, len(real), size), []
    parts = embedded.split([end - start for start, end in pairwise(ends)])
    filled = functional.pad(real, (0, padded_length(real.shape[1], real.device.type) - real.shape[1]))
    lengths = (real * torch.arange(1, real.shape[1] + 1, device=real.device)).amax(1).tolist()
    for index, first in enumerate(range(0, len(real), size)):
        own = slice(ends[index], ends[index + 1])
        inside = Pairs(pairs.jet[own] - first, pairs.first[own], pairs.second[own])
        most = padded_length(max(lengths[first : first + size]), real.device.type)
        kept = filled[first : first + size, :most]
        groups.append(_group(kept, inside, parts[index]))
    return groups


def _pair_ends(pairs: Pairs, jets: int, size: int) -> list[int]:
    """Where the pairs of each group begin, and where the last one's end."""
    firsts = torch.arange(0, jets + size, size, device=pairs.jet.device).clamp(max=jets)
    return torch.searchsorted(pairs.jet, firsts).tolist()


def _group(real: Tensor, pairs: Pairs, embedded: Tensor) -> Group:
    places = real.flatten().nonzero().squeeze(1)
    bias = symmetric_bias(embedded, pairs, (real.shape[0], real.shape[1]))
    if len(places) < real.numel():
        with torch.no_grad():  # padded keys get no gradient from the softmax either
            bias.masked_fill_(~real[:, None, None, :], -math.inf)
    return Group(real, bias, *_moves(places, *bias.shape[:3]))


def _moves(places: Tensor, jets: int, heads: int, most: int) -> tuple[Moves, Moves, Moves]:
    """Padding, splitting and joining of rows that stand at `places` among padded particles."""
    row, n = places.new_zeros(jets * most), len(places)
    row[places] = torch.arange(n, device=places.device)
    padding = Moves(row, places)
    part, head = (torch.arange(size, device=places.device) for size in (3, heads))
    pieces = (row.view(jets, 1, most) * 3 + part.view(3, 1, 1, 1)) * heads + head.view(heads, 1)
    place = (places // most * heads)[:, None] * most + head * most + (places % most)[:, None]
    back = part[:, None] * (jets * heads * most) + place[:, None]
    none = places.new_full((jets * heads * most,), n * heads)
    own = none.index_copy(0, place.flatten(), torch.arange(n * heads, device=places.device))
    return padding, Moves(pieces.flatten(), back.flatten()), Moves(place.flatten(), own, padded=True)


def group_size(jets: int, device: str) -> int:
    """Jets of a batch whose attention is taken together in training, on this kind of device.

    On a GPU all: many small calls cost more there than padding does.
    """
    return GROUP if device == "cpu" else jets


def padded_length(longest: int, device: str) -> int:
    """Particles that the jets of a group are padded to, on this kind of device."""
    return longest if device == "cpu" else longest + -longest % ALIGNED
