"""Particles of many jets as rows without padding, and groups of jets that are padded for attention alone."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from softjet.part.pairs import Pairs, symmetric_bias

GROUP = 32
"""Jets whose attention is taken together: from short to long, so that little is padding."""

GROUPS_ON_GPU = 4
"""On a GPU groups are as many at most: it is slower with many small calls than with some padding."""


class Group(NamedTuple):
    """Jets that are padded together to the longest of them.

    Parameters
    ----------
    rows : slice
        Their particles among the rows of the batch.
    places : Tensor, int64, shape (n_rows,)
        Where these stand among the padded particles, jet by jet.
    real : Tensor, bool, shape (B, P)
    bias : Tensor, shape (B, H, P, P)
        Attention bias; -inf for padded keys, so that they get no attention.
    """

    rows: slice
    places: Tensor
    real: Tensor
    bias: Tensor

    def padded(self, rows: Tensor) -> Tensor:
        """Its part of the batch's rows (n, C) with padding, which is 0; shape (B, P, C)."""
        own = rows[self.rows]
        flat = own.new_zeros(self.real.numel(), own.shape[1])
        return flat.index_copy(0, self.places, own).unflatten(0, self.real.shape)

    def packed(self, padded: Tensor) -> Tensor:
        """Its rows without padding; shapes (B, P, C) -> (n_rows, C)."""
        return _Taken.apply(padded.flatten(0, 1), self.places)


class _Taken(torch.autograd.Function):
    """Rows at places that all differ: their gradient is put back, where autograd would add it up."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.count = len(rows)
        return rows.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        rows = upstream.new_zeros(ctx.count, upstream.shape[1])
        return rows.index_copy_(0, places, upstream), None


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
    lengths = (real * torch.arange(1, real.shape[1] + 1, device=real.device)).amax(1).tolist()
    start = 0
    for index, first in enumerate(range(0, len(real), size)):
        own = slice(ends[index], ends[index + 1])
        inside = Pairs(pairs.jet[own] - first, pairs.first[own], pairs.second[own])
        kept = real[first : first + size, : max(lengths[first : first + size])]
        group = _group(kept, start, inside, embedded[own])
        groups.append(group)
        start = group.rows.stop
    return groups


def _pair_ends(pairs: Pairs, jets: int, size: int) -> list[int]:
    """Where the pairs of each group begin, and where the last one's end."""
    firsts = torch.arange(0, jets + size, size, device=pairs.jet.device).clamp(max=jets)
    return torch.searchsorted(pairs.jet, firsts).tolist()


def _group(real: Tensor, start: int, pairs: Pairs, embedded: Tensor) -> Group:
    places = real.flatten().nonzero().squeeze(1)
    bias = symmetric_bias(embedded, pairs, (real.shape[0], real.shape[1]))
    if len(places) < real.numel():
        with torch.no_grad():  # padded keys get no gradient from the softmax either
            bias.masked_fill_(~real[:, None, None, :], -math.inf)
    return Group(slice(start, start + len(places)), places, real, bias)


def group_size(jets: int, device: str) -> int:
    """Jets of a batch whose attention is taken together in training, on this kind of device."""
    return GROUP if device == "cpu" else max(GROUP, math.ceil(jets / GROUPS_ON_GPU))
