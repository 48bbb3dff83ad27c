"""Subjets, decay and focus: where attention goes, beside what the composition of the jet alone would give.

A particle's attention to itself is left out everywhere: it is trivially within its subjet, and hard particles
would otherwise look favoured by their own rows. Every null is an exact expectation, worked out from the jet
and from how much weight each query gives to others.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from softjet.attention.reading import Jets
from softjet.attention.stream import Seen, Statistic
from softjet.attention.sums import SHARE, Ratio

DISPLACED = 3.0
"""A track is displaced where |d0| exceeds its error times this."""


def _hardest(jets: Jets) -> Tensor:
    first = torch.zeros_like(jets.real)
    first[:, 0] = True
    return first


def _lepton(jets: Jets) -> Tensor:
    return jets.column("part_isElectron").bool() | jets.column("part_isMuon").bool()


def _photon(jets: Jets) -> Tensor:
    return jets.column("part_isPhoton").bool()


def _displaced(jets: Jets) -> Tensor:
    error = jets.column("part_d0err")
    return (error > 0) & (jets.column("part_d0val").abs() > DISPLACED * error)


def _heavy(jets: Jets) -> Tensor:
    return jets.column("truth_part_heavy") > 0


KINDS: dict[str, tuple[frozenset[str], Callable[[Jets], Tensor]]] = {
    "hardest": (frozenset(), _hardest),
    "lepton": (frozenset({"part_isElectron", "part_isMuon"}), _lepton),
    "photon": (frozenset({"part_isPhoton"}), _photon),
    "displaced": (frozenset({"part_d0val", "part_d0err"}), _displaced),
    "heavy": (frozenset({"truth_part_heavy"}), _heavy),
}
"""Kinds of particles: columns of the jet table that tell them, and which particles they are, bool (B, P)."""

PRONG = "truth_part_prong"

EVERY = 8
"""One jet in this many is enough, and keeps the stream within its time."""


def focus(columns: Collection[str]) -> Statistic:
    """Attention within subjets and prongs, and attention that kinds of particles receive.

    `mass_subjet`: of the weight on other particles, the share within the query's own kT subjet;
    `argmax_subjet`: of the queries whose largest weight is on another particle, the share for which that is
    in the own subjet. Null: another particle chosen blindly. Jets that are split in one subjet do not count.
    `mass_prong`, `argmax_prong`: the same of particles that descend from prongs of the decay (truth), in jets
    with particles of two prongs or more.

    `to_hardest`, `to_lepton`, `to_photon`, `to_displaced` (|d0| above three errors), `to_heavy` (b or c
    hadron among the ancestors: truth): of the weight that particles give to others, the share that this kind
    receives, in jets that have it. Null: an even share for each other particle; of `to_hardest_pt` and so on,
    whose values are the same, a share in proportion to pT.

    Parameters
    ----------
    columns : collection of str
        Of the jet table. What needs others is left out.
    """
    kinds = {name: told for name, (needed, told) in KINDS.items() if needed <= set(columns)}
    measures = [
        partial(_focus, tell=_Kinds(kinds)),
        partial(_within, name="subjet", groups=_Groups(_subjets)),
    ]
    if PRONG in columns:
        measures.append(partial(_within, name="prong", groups=_Groups(_prongs)))
    return Statistic(lambda seen: [ratio for measure in measures for ratio in measure(seen)], EVERY)


def _subjets(jets: Jets) -> Tensor:
    return jets.subjet


def _prongs(jets: Jets) -> Tensor:
    return jets.column(PRONG).masked_fill(~jets.real, -1)


class _Kinds:
    """Kinds of the particles of a batch, and what each query owes them by an even and by a pT share."""

    def __init__(self, tell: dict[str, Callable[[Jets], Tensor]]) -> None:
        self.tell = tell

    def __call__(self, jets: Jets) -> tuple[Tensor, Tensor, Tensor]:
        member = torch.stack([told(jets) & jets.real for told in self.tell.values()], 1).float()
        pt = jets.vectors[:, :2].square().sum(1).sqrt() * jets.real
        return member, share_of_others(member, jets.real.float()), share_of_others(member, pt)


def share_of_others(member: Tensor, worth: Tensor) -> Tensor:
    """Share of a kind in the worth of all particles but the query.

    Parameters
    ----------
    member : (B, K, P)
        1 for particles of each kind.
    worth : (B, P)
        0 at padding.

    Returns
    -------
    (B, K, P)
        By query; 0 for the particle of a jet of one.
    """
    of_kind = member * worth[:, None]
    others = worth.sum(1, keepdim=True) - worth
    rest = (of_kind.sum(-1, keepdim=True) - of_kind).clamp_min(0)
    return rest / others.clamp_min(torch.finfo(worth.dtype).tiny)[:, None]


def _focus(seen: Seen, tell: _Kinds) -> list[Ratio]:
    member, even, by_pt = seen.shared.once(tell)
    itself = seen.weights.diagonal(dim1=-2, dim2=-1)
    away = seen.weights.sum(-1) - itself
    # (B, H, K) each: of all kinds at once.
    top = (seen.weights.sum(-2) - itself) @ member.mT
    whole = away.sum(-1, keepdim=True) * member.any(-1)[:, None]
    null, null_by_pt = away @ even.mT, away @ by_pt.mT
    found = []
    for place, kind in enumerate(tell.tell):
        received, given = top[..., place], whole[..., place]
        for ending, expected in (("", null), ("_pt", null_by_pt)):
            found.append(Ratio(f"to_{kind}{ending}", received, given, expected[..., place], limits=SHARE))
    return found


class _Pairs(NamedTuple):
    """Pairs of different particles.

    same, both : (B, P, P) bool
        Within a group, and within any group.
    chance : (B, P)
        Share of the former in the latter, of each query.
    sides : (B, P * P, 3)
        Both as numbers, and how many of a query's would be within its group by that share.
    """

    same: Tensor
    both: Tensor
    chance: Tensor
    sides: Tensor


class _Groups:
    """Pairs of a batch within groups of particles."""

    def __init__(self, label: Callable[[Jets], Tensor]) -> None:
        self.label = label

    def __call__(self, jets: Jets) -> _Pairs:
        label = self.label(jets)
        some = label >= 0
        both = some[:, :, None] & some[:, None, :]
        both.diagonal(dim1=-2, dim2=-1).zero_()
        same = both & (label[:, :, None] == label[:, None, :])
        several = (both & ~same).flatten(1).any(1)[:, None, None]
        same, both = same & several, both & several
        chance = same.sum(-1) / both.sum(-1).clamp_min(1)
        sides = torch.stack((same, both, both * chance[..., None]), -1).float()
        return _Pairs(same, both, chance, sides.flatten(1, 2))


def _within(seen: Seen, name: str, groups: _Groups) -> list[Ratio]:
    pairs = seen.shared.once(groups)
    mass, whole, expected = (seen.weights.flatten(2) @ pairs.sides).unbind(-1)
    hit, counted = (
        seen.at(side[:, None].expand(seen.weights.shape), seen.key) for side in (pairs.same, pairs.both)
    )
    queries, blindly = seen.over_queries(counted), seen.over_queries(counted * pairs.chance[:, None])
    return [
        Ratio(f"mass_{name}", mass, whole, expected, limits=SHARE),
        Ratio(f"argmax_{name}", seen.over_queries(hit), queries, blindly, limits=SHARE),
    ]
