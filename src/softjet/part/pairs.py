"""Pair features of particles and their embedding into one attention bias a head.

Source: H. Qu, C. Li, S. Qian, "Particle Transformer for Jet Tagging", arXiv 2202.03772, section 4.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from softjet.config.part import PairMass
from softjet.part.norm import usual_affine
from softjet.part.rows import through

N_PAIR_FEATURES = 4
EPSILON = 1e-8

Affine = tuple[Tensor, Tensor]
"""Scale or weight, and shift or bias; or mean and deviation."""


class Pairs(NamedTuple):
    """Every unordered pair of real particles of a batch once, a particle with itself included.

    Parameters
    ----------
    jet, first, second : Tensor, int64, shape (n_pairs,)
        The jet's place in the batch and the particles' places in the jet, first >= second.
    """

    jet: Tensor
    first: Tensor
    second: Tensor


def real_pairs(real: Tensor) -> Pairs:
    """Pairs of real particles.

    Parameters
    ----------
    real : Tensor, bool, shape (B, P)
        True for a particle, false for padding.
    """
    both = (real[:, :, None] & real[:, None, :]).tril_()
    return Pairs(*both.nonzero(as_tuple=True))


def pair_features(vectors: Tensor, pairs: Pairs, mass: PairMass = "published") -> Tensor:
    """Logarithms of kT, z, Delta and m^2 of each pair (arXiv 2202.03772, equation 3).

    Delta is the distance in rapidity and phi, kT = min(pTa, pTb) Delta, z = min(pTa, pTb) / (pTa + pTb);
    each is cut at 1e-8 from below.

    Parameters
    ----------
    vectors : Tensor, shape (B, 4, P)
        px, py, pz and energy in GeV.
    pairs : Pairs
        The n pairs.
    mass : "published" or "stable"
        m^2 = E^2 - p^2 of the sum loses in float32 all digits for close pairs and for a particle with itself;
        "stable" takes it in float64 and so gives what the given numbers hold: its error stays below the cut
        up to energies of some TeV.

    Returns
    -------
    Tensor, shape (n, 4)
        ln(kT / GeV), ln z, ln Delta, ln(m^2 / GeV^2).
    """
    size = vectors.shape[-1]
    places = pairs.jet * size + pairs.first, pairs.jet * size + pairs.second
    particles, four = cylindrical(vectors).flatten(1), momenta(vectors, mass).flatten(1)
    a, b = (particles.index_select(1, place) for place in places)
    total = four.index_select(1, places[0]) + four.index_select(1, places[1])
    return _logarithms(a, b, total)


def dense_pair_features(vectors: Tensor, mass: PairMass = "published") -> Tensor:
    """Features of all ordered pairs, padding included: without a shape that depends on data.

    Parameters
    ----------
    vectors : Tensor, shape (B, 4, P)
        px, py, pz and energy in GeV.
    mass : "published" or "stable"
        As of `pair_features`.

    Returns
    -------
    Tensor, shape (B, P, P, 4)
        As of `pair_features`.
    """
    particles, four = cylindrical(vectors), momenta(vectors, mass)
    total = four[..., :, None] + four[..., None, :]
    return _logarithms(particles[..., :, None], particles[..., None, :], total)


def cylindrical(vectors: Tensor) -> Tensor:
    """Transverse momentum, rapidity and phi, shape (3, B, P)."""
    px, py, pz, energy = vectors.unbind(1)
    pt = (px.square() + py.square()).sqrt()
    rapidity = 0.5 * torch.log(1 + 2 * pz / (energy - pz).clamp(min=1e-20))
    return torch.stack((pt, rapidity, torch.atan2(py, px)))


def momenta(vectors: Tensor, mass: PairMass) -> Tensor:
    """Four-momenta as the pair masses are made from, shape (4, B, P)."""
    return (vectors.double() if mass == "stable" else vectors).transpose(0, 1)


def _logarithms(a: Tensor, b: Tensor, total: Tensor) -> Tensor:
    """Features of particles `a` and `b` (3, ...) with the sum `total` (4, ...) of their momenta."""
    around = torch.remainder(a[2] - b[2] + math.pi, 2 * math.pi) - math.pi
    delta = ((a[1] - b[1]).square() + around.square()).sqrt()
    softer = torch.minimum(a[0], b[0])
    z = softer / (a[0] + b[0]).clamp(min=EPSILON)
    x, y, s, t = total.square()
    squared_mass = (t - (x + y + s)).to(delta.dtype)
    return torch.stack((softer * delta, z, delta, squared_mass), dim=-1).clamp_(min=EPSILON).log_()


class PairEmbedding(nn.Sequential):
    """Pair features to the attention bias U, one channel a head.

    BatchNorm, then [Linear, BatchNorm, GELU] to each width and to the number of heads. It works on packed
    rows, one a real pair, so padding costs nothing and stays out of the statistics (as in weaver-core 0.5.3).

    In evaluation a batch normalisation is a scale and a shift, which go into the matrix before it.

    Parameters
    ----------
    widths : sequence of int
        Widths of the hidden layers.
    heads : int
        Attention heads.
    norm : type of nn.BatchNorm1d
        Class of the batch normalisations.
    """

    def __init__(self, widths: Sequence[int], heads: int, norm: type[nn.BatchNorm1d]) -> None:
        layers: list[nn.Module] = [norm(N_PAIR_FEATURES)]
        width = N_PAIR_FEATURES
        for wider in (*widths, heads):
            layers += [nn.Linear(width, wider), norm(wider), nn.GELU()]
            width = wider
        super().__init__(*layers)
        # Stored by columns, the narrow first matrix gets its gradient 15 times faster (MKL, 100,000 x 4).
        first = layers[1]
        assert isinstance(first, nn.Linear)
        first.weight = nn.Parameter(first.weight.detach().t().contiguous().t())

    def forward(self, rows: Tensor) -> Tensor:
        """Embed pairs.

        Parameters
        ----------
        rows : Tensor, shape (n, 4)
            Pair features.

        Returns
        -------
        Tensor, shape (n, H)
            In the precision of autocast, where it is on.
        """
        # An exported graph has no loop over blocks.
        if torch.compiler.is_exporting() or any(norm.training for norm in self._norms()):
            return super().forward(rows)
        kind = rows.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else rows.dtype
        with torch.autocast(kind, enabled=False):
            return through(self.standardised(rows, dtype), self.folded(), torch.is_grad_enabled())

    def standardised(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """Features less their usual mean, over their usual deviation: of these a low precision keeps most."""
        mean, deviation = self.usual()
        return ((rows - mean) / deviation).to(dtype)

    def usual(self) -> Affine:
        """Usual mean and deviation of each feature, shapes (4,)."""
        norm = self._norms()[0]
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return norm.running_mean, (norm.running_var + norm.eps).sqrt()

    def folded(self) -> list[Affine]:
        """Weight and bias of each layer on standardised features in evaluation, before its GELU."""
        first, *norms = self._norms()
        before: Affine | None = (first.weight, first.bias)
        found = []
        for linear, norm in zip(self._linears(), norms, strict=True):
            weight, bias = _after(linear, before)
            scale, shift = usual_affine(norm)
            found.append((scale[:, None] * weight, scale * bias + shift))
            before = None
        return found

    def _norms(self) -> list[_BatchNorm]:
        # Of any class: with `sync_batchnorm` they are PyTorch's for several processes.
        return [layer for layer in self if isinstance(layer, _BatchNorm)]

    def _linears(self) -> list[nn.Module]:
        return list(self)[1::3]


def _after(linear: nn.Module, before: Affine | None) -> Affine:
    """Weight and bias of a linear layer behind a scale and a shift."""
    weight, bias = linear.weight, linear.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    return (weight, bias) if before is None else (weight * before[0], bias + weight @ before[1])


def symmetric_bias(embedded: Tensor, pairs: Pairs, shape: tuple[int, int]) -> Tensor:
    """Spread the embedding of the pairs over both orders of each pair.

    Parameters
    ----------
    embedded : Tensor, shape (n_pairs, H)
        One row a pair.
    pairs : Pairs
        The pairs.
    shape : (int, int)
        Jets of the batch and particles of a jet.

    Returns
    -------
    Tensor, shape (B, H, P, P)
        U, symmetric in its last two axes and 0 at padding.
    """
    jets, size = shape
    bias = embedded.new_zeros(jets * size * size, embedded.shape[1])
    bias.index_copy_(0, (pairs.jet * size + pairs.first) * size + pairs.second, embedded)
    bias.index_copy_(0, (pairs.jet * size + pairs.second) * size + pairs.first, embedded)
    return bias.view(jets, size, size, -1).permute(0, 3, 1, 2).contiguous()


def mask_keys(bias: Tensor, real: Tensor) -> Tensor:
    """Attention bias (B, H, P, P), in place, with -inf for the keys that are padding in `real` (B, P)."""
    return bias.masked_fill_(~real[:, None, None, :], -math.inf)
