"""Whom a particle attends to: a sibling, a merge partner, its nearest neighbour or the hardest particle.

Attention falls with distance, and so do all of these. So each share stands beside what a key of the same
distance gives: for a query whose largest weight is on a particle at distance Delta R, the null draws any
other particle of the jet in the same bin of Delta R. It is an exact expectation, not a draw. The bin holds
the chosen key itself, which makes the null conservative where few particles share a bin.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from softjet.attention.reading import Jets
from softjet.attention.stream import Seen, Statistic
from softjet.attention.sums import SHARE, Ratio
from softjet.jets.substructure import merge_partners

DISTANCES = tuple(0.01 * 2 ** (k / 2) for k in range(15))
"""Edges of the bins of Delta R, 0.01 to 1.28; the first bin begins at 0 and the last is open."""

EVERY = 16
"""Clustering takes long: one jet in this many is enough."""

GLUON = 21


def displacements(jets: Jets) -> Tensor:
    """Eta and phi of each key less those of the query, (2, B, P, P): queries in rows; 0 at padding.

    Eta counts away from the centre of the detector, as part_deta does.
    """
    place = torch.stack([jets.column(name) for name in ("part_deta", "part_dphi")])
    both = jets.real[:, :, None] & jets.real[:, None, :]
    return (place[:, :, None, :] - place[:, :, :, None]) * both


def distance_bins(jets: Jets) -> Tensor:
    """Bin of `DISTANCES` that Delta R of each pair lies in, int64 (B, P, P); 0 is below the first edge."""
    distance = displacements(jets).square().sum(0).sqrt()
    return torch.bucketize(distance, torch.tensor(DISTANCES, device=distance.device), right=True)


def other_pairs(real: Tensor) -> Tensor:
    """Pairs of different real particles, bool (B, P, P)."""
    both = real[:, :, None] & real[:, None, :]
    both.diagonal(dim1=-2, dim2=-1).zero_()
    return both


def _siblings(jets: Jets) -> Tensor:
    """Pairs of one mother that decayed: of no quark, diquark or gluon, by PDG's numbering scheme."""
    mother, identity = (jets.column(name) for name in ("truth_part_mother", "truth_part_mother_pid"))
    identity = identity.abs()
    # A diquark holds a whole string at its end, as a quark does: what it gives is no decay.
    diquark = (identity > 1000) & (identity < 10000) & (identity // 10 % 10 == 0)
    decayed = (mother >= 0) & (identity > 6) & (identity != GLUON) & ~diquark
    return (mother[:, :, None] == mother[:, None, :]) & decayed[:, None, :]


def _merged(jets: Jets, algorithm: Literal["kt", "cambridge_aachen"]) -> Tensor:
    real = jets.real.cpu().numpy()
    momenta = np.ascontiguousarray(jets.vectors.cpu().numpy().transpose(0, 2, 1)[real], np.float64)
    partner = np.full(real.shape, -1)
    partner[real] = merge_partners(momenta, np.append(0, np.cumsum(real.sum(1))), algorithm)
    return _one_hot(torch.from_numpy(partner).to(jets.real.device))


def _nearest(jets: Jets) -> Tensor:
    distance = displacements(jets).square().sum(0).masked_fill(~other_pairs(jets.real), torch.inf)
    return _one_hot(distance.argmin(-1))


def _hardest(jets: Jets) -> Tensor:
    return _one_hot(torch.zeros_like(jets.real, dtype=torch.int64))


def _one_hot(partner: Tensor) -> Tensor:
    """Partner of each query (B, P) as pairs (B, P, P); none where it is -1."""
    return partner[..., None] == torch.arange(partner.shape[1], device=partner.device)


PARTNERS: dict[str, tuple[frozenset[str], Callable[[Jets], Tensor]]] = {
    "sibling": (frozenset({"truth_part_mother", "truth_part_mother_pid"}), _siblings),
    "kt": (frozenset(), partial(_merged, algorithm="kt")),
    "cambridge_aachen": (frozenset(), partial(_merged, algorithm="cambridge_aachen")),
    "nearest": (frozenset(), _nearest),
    "hardest": (frozenset(), _hardest),
}
"""Partners: columns of the jet table that tell them, and which keys are the query's, bool (B, P, P)."""


def partners(columns: Collection[str]) -> Statistic:
    """How often a query's largest weight is on a partner of its, beside keys of the same distance.

    `sibling`: a particle with the same mother, where she is no quark, diquark or gluon (truth); `kt` and
    `cambridge_aachen`: the particle that the query merges with first, or the hardest of the subjet that it
    merges with; `nearest`: in Delta R; `hardest`: of the jet. Each is a share of the queries that have such a
    partner and put their largest weight on another particle. Null: expected share of a key drawn among the
    jet's other particles in the same bin of Delta R as the chosen one.

    Parameters
    ----------
    columns : collection of str
        Of the jet table. What needs others is left out.
    """
    told = {name: tell for name, (needed, tell) in PARTNERS.items() if needed <= set(columns)}
    return Statistic(partial(_partners, tell=_Partners(told)), EVERY)


class _Partners:
    """Of a batch: pairs with each partner (B, T, P, P), bins of distance, and the null by query and bin."""

    def __init__(self, tell: dict[str, Callable[[Jets], Tensor]]) -> None:
        self.tell = tell

    def __call__(self, jets: Jets) -> tuple[Tensor, Tensor, Tensor]:
        others = other_pairs(jets.real)
        pairs = torch.stack([tell(jets) for tell in self.tell.values()], 1) & others[:, None]
        bins = distance_bins(jets)
        return pairs, bins, share_in_bin(pairs, others, bins)


def share_in_bin(pairs: Tensor, others: Tensor, bins: Tensor) -> Tensor:
    """Share of partners among the keys in each bin of each query.

    Parameters
    ----------
    pairs : (B, T, P, P) bool
        Partners.
    others : (B, P, P) bool
        All keys that there are.
    bins : (B, P, P) int64
        Bin of each key.

    Returns
    -------
    (B, T, P, bins)
        0 in empty bins.
    """
    shape = (*pairs.shape[:3], len(DISTANCES) + 1)
    place = bins[:, None].expand(pairs.shape)
    partners = torch.zeros(shape, device=bins.device).scatter_add_(-1, place, pairs.float())
    keys = torch.zeros((*others.shape[:2], shape[-1]), device=bins.device).scatter_add_(
        -1, bins, others.float()
    )
    return partners / keys.clamp_min(1)[:, None]


def _partners(seen: Seen, tell: _Partners) -> list[Ratio]:
    pairs, bins, shares = seen.shared.once(tell)
    whole = seen.weights.shape
    bin_of_key = seen.at(bins[:, None].expand(whole), seen.key)
    found = []
    for place, name in enumerate(tell.tell):
        counted = ~seen.to_itself & pairs[:, place].any(-1)[:, None]
        hit = seen.at(pairs[:, place, None].expand(whole), seen.key) & counted
        by_bin = shares[:, place, None].expand(*whole[:3], shares.shape[-1])
        null = seen.over_queries(seen.at(by_bin, bin_of_key) * counted)
        found.append(Ratio(name, seen.over_queries(hit), seen.over_queries(counted), null, limits=SHARE))
    return found
