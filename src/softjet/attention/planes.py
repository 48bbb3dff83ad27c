"""Where on the eta-phi plane attention goes, seen from the query, and how it falls with distance.

Jets are turned so that they lie on top of each other. The axis of a jet is the line through its two exclusive
kT subjets (two whatever the class, centres weighted by pT); x points from the query's own subjet to the other
one, and the sign of y, which is free, is that which puts the jet's hardest particle at y >= 0 from the line.
A particle's attention to itself is left out. Even attention gives each other particle the same weight, so it
shows what the composition of the jets alone gives.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from softjet.attention.partners import DISTANCES, displacements, distance_bins, other_pairs
from softjet.attention.reading import Jets
from softjet.attention.sample import subjets
from softjet.attention.stream import Seen, Statistic
from softjet.attention.sums import POSITIVE, SHARE, Floats, Ratio, Sums
from softjet.errors import InputError

REACH, CELLS = 0.8, 20
"""Half the side of a map, and cells on a side."""

EVERY_MAP, EVERY_PROFILE = 16, 16
"""Maps and profiles look at one jet in this many."""


def profile() -> Statistic:
    """How attention falls with distance, and how much of it looks ahead, to the side of the other subjet.

    `distance`: weight on other particles in a bin of Delta R, over what even attention would put there;
    `threshold` is the lower edge of the bin (0, then `softjet.attention.partners.DISTANCES`), and the
    denominator the weight of even attention. A ratio, since its interval is free of the spread of shapes
    between jets, which moves both alike. Null: 1.
    `ahead`: of the weight on other particles, the share on those that lie, seen from the query, towards the
    other of the jet's two exclusive kT subjets. Null: even attention.
    """
    return Statistic(_profile, EVERY_PROFILE)


def _profile(seen: Seen) -> list[Ratio]:
    places = seen.shared.once(_places)
    itself = seen.weights.diagonal(dim1=-2, dim2=-1)
    away = seen.weights.sum(-1) - itself
    *mass, looked = (seen.weights.flatten(2) @ places.sides).unbind(-1)
    null = (away @ places.even).unbind(-1)
    edges = (0.0, *DISTANCES)
    return [
        Ratio("ahead", looked, away.sum(-1), (away * places.ahead[:, None]).sum(-1), limits=SHARE),
        *(
            Ratio("distance", top, expected, expected, threshold=edge, limits=POSITIVE)
            for edge, top, expected in zip(edges, mass, null, strict=True)
        ),
    ]


def maps() -> Statistic:
    """Density of the displacement from query to key, all heads together.

    One ratio whose columns are not heads but the cells of the map, y slowest: of the weight on other
    particles, the share that falls in the cell. Null: even attention. There are no resamples, and its table
    is `planes_table`.
    """
    return Statistic(_maps, EVERY_MAP, resamples=0)


def _maps(seen: Seen) -> list[Ratio]:
    places = seen.shared.once(_places)
    others, cell = places.others, places.cell
    weights = seen.weights.sum(1) * others
    given = weights.sum(-1)
    even = given[..., None] * others / others.sum(-1, keepdim=True).clamp_min(1)
    mass, null = (_filled(cell, values) for values in (weights, even))
    return [Ratio("map", mass, given.sum(-1, keepdim=True).expand(mass.shape), null)]


def _filled(cell: Tensor, values: Tensor) -> Tensor:
    """Sums of values (B, P, P) in the cells of each jet, (B, cells); what is beside the map is left out."""
    sums = values.new_zeros(len(values), CELLS**2 + 1)
    return sums.scatter_add_(1, cell.flatten(1), values.flatten(1))[:, :-1]


class _Places(NamedTuple):
    """Where the other particles of each query are.

    others : (B, P, P)
        Pairs of different particles.
    cell : int64 (B, P, P)
        Cell of each pair's displacement.
    sides : (B, P * P, bins + 1)
        1 for pairs of different particles in each bin of distance, and for those whose key lies ahead.
    even, ahead : (B, P, bins), (B, P)
        Share of each query's other particles in each bin, and ahead.
    """

    others: Tensor
    cell: Tensor
    sides: Tensor
    even: Tensor
    ahead: Tensor


def _places(jets: Jets) -> _Places:
    others, (x, y) = other_pairs(jets.real).float(), turned(jets)
    column, row = (((value + REACH) * (CELLS / (2 * REACH))).floor().long() for value in (x, y))
    inside = torch.stack([(one >= 0) & (one < CELLS) for one in (column, row)]).all(0)
    ahead, number = others * (x > 0), others.sum(-1).clamp_min(1)
    bins = functional.one_hot(distance_bins(jets), len(DISTANCES) + 1) * others[..., None]
    return _Places(
        others,
        torch.where(inside, row * CELLS + column, CELLS**2),
        torch.cat((bins, ahead[..., None]), -1).flatten(1, 2),
        bins.sum(2) / number[..., None],
        ahead.sum(-1) / number,
    )


def turned(jets: Jets) -> tuple[Tensor, Tensor]:
    """Displacement of each key from the query along and across the axis of its jet, both (B, P, P).

    Along: from the query's subjet to the other one. A jet of one particle has no axis; x is then eta.
    """
    label = _two_subjets(jets)
    along, across, place = _axes(jets, label)
    side = (across[:, 0, None] * place[0] + across[:, 1, None] * place[1])[:, :1]
    upwards = torch.where(side < 0, -1.0, 1.0)[..., None]
    towards = torch.where(label == 0, 1.0, -1.0)[..., None]
    deta, dphi = displacements(jets)
    x, y = (axis[:, 0, None, None] * deta + axis[:, 1, None, None] * dphi for axis in (along, across))
    return x * towards, y * upwards


def _two_subjets(jets: Jets) -> Tensor:
    two = np.full(len(jets), 2)
    found = subjets(jets.vectors.cpu().numpy(), two, jets.real.cpu().numpy())
    return torch.from_numpy(found).long().to(jets.mask.device)


def _axes(jets: Jets, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors along and across the axis (B, 2), and places from the first subjet (2, B, P)."""
    place = torch.stack([jets.column(name) for name in ("part_deta", "part_dphi")])
    pt = jets.vectors[:, :2].square().sum(1).sqrt()
    shares = [pt * (label == subjet) for subjet in (0, 1)]
    shares = [share / share.sum(1, keepdim=True).clamp_min(torch.finfo(pt.dtype).tiny) for share in shares]
    first, second = ((place * share).sum(-1) for share in shares)
    axis = (second - first).T
    length = axis.norm(dim=1, keepdim=True)
    along = torch.where(length > 0, axis / length.clamp_min(1e-12), axis.new_tensor([1.0, 0.0]))
    across = torch.stack((-along[:, 1], along[:, 0]), 1)
    return along, across, place - first[..., None]


def planes_table(trained: Sums, untrained: Sums) -> pd.DataFrame:
    """Maps of the displacement from query to key by class and layer.

    Parameters
    ----------
    trained, untrained : Sums
        Of `maps`, of the same jets.

    Returns
    -------
    DataFrame
        A row a cell: label, class, layer, x, y (its centre, in units of Delta R), observed, even, untrained
        (density a unit of area, of the weight on other particles), ratio (observed / even; absent where no
        particle lies) and n_jets. The densities of a map add up to the part of the weight that falls in it.

    Raises
    ------
    InputError
        The two networks saw different jets.
    """
    if not np.array_equal(trained.jets, untrained.jets):
        problem = "are not those of the trained network; read both from one sample"
        raise InputError("untrained", "jets", problem)
    centres = (np.arange(CELLS) + 0.5) * (2 * REACH / CELLS) - REACH
    y, x = (grid.ravel() for grid in np.meshgrid(centres, centres, indexing="ij"))
    frames = []
    for label in np.flatnonzero(trained.jets[:, 0]).tolist():
        for layer in range(trained.by_class.shape[3]):
            observed, even = _densities(trained, label, layer)
            fresh, _ = _densities(untrained, label, layer)
            frames.append(
                pd.DataFrame({
                    "label": label, "class": trained.classes[label], "layer": layer, "x": x, "y": y,
                    "observed": observed, "even": even, "untrained": fresh,
                    "ratio": np.divide(observed, even, out=np.full(len(x), np.nan), where=even > 0),
                    "n_jets": int(trained.jets[label, 0]),
                })
            )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def _densities(sums: Sums, label: int, layer: int) -> tuple[Floats, Floats]:
    """Density in each cell of the attention, and of even attention."""
    area = (2 * REACH / CELLS) ** 2
    top, bottom, null = (sums.by_class[label, 0, column, layer] for column in sums.columns[0, :3])
    whole = np.where(bottom > 0, bottom, 1) * area
    return top / whole, null / whole
