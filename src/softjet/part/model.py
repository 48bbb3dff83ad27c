"""Particle Transformer (H. Qu, C. Li, S. Qian, arXiv 2202.03772), to the letter of the published model.

The defaults are the published shape: 8 particle blocks, 2 class blocks, 128 wide, 8 heads; 2,143,486
parameters with 17 features and 10 classes. With the same weights it gives weaver-core 0.5.3's logits.
"""

import math

import torch
from torch import Tensor, nn

from softjet.config.part import N_FEATURES, ParTModel
from softjet.part.blocks import Block, ClassBlock, ParticleBlock
from softjet.part.norm import BatchRenorm1d
from softjet.part.pairs import PairEmbedding, Pairs, pair_features, real_pairs, symmetric_bias

GROUP = 32
"""Jets that go through the blocks together in training: from short to long, so that little is padding."""

GROUPS_ON_GPU = 4
"""On a GPU groups are as many at most: it is slower with many small calls than with some padding."""


class ParticleEmbedding(nn.Module):
    """Features of particles to the width of the model: BatchNorm, then [LayerNorm, Linear, GELU] a width.

    Parameters
    ----------
    config : ParTModel
        With `normalisation: published` the BatchNorm counts padding too, which the published loader fills
        with repeated particles; ours is zero, and would pull the statistics.
    """

    def __init__(self, config: ParTModel) -> None:
        super().__init__()
        width = N_FEATURES[config.features]
        self.counts_padding = config.normalisation == "published"
        self.norm = norm_of(config)(width)
        layers: list[nn.Module] = []
        for wider in config.embed_dims:
            layers += [nn.LayerNorm(width), nn.Linear(width, wider), nn.GELU()]
            width = wider
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor, real: Tensor) -> Tensor:
        """Embed the real particles; padding is 0.

        Parameters
        ----------
        features : Tensor, shape (B, F, P)
        real : Tensor, bool, shape (B, P)

        Returns
        -------
        Tensor, shape (B, P, W)
        """
        if self.counts_padding:
            rows = self.norm(features).transpose(1, 2)[real]
        else:
            rows = self.norm(features.transpose(1, 2)[real])
        rows = self.layers(rows)
        return rows.new_zeros(*real.shape, rows.shape[-1]).masked_scatter_(real[..., None], rows)


class ParticleTransformer(nn.Module):
    """Particle Transformer.

    Parameters
    ----------
    config : ParTModel
        Shape; `config` stays an attribute.
    """

    def __init__(self, config: ParTModel) -> None:
        super().__init__()
        self.config = config
        width = config.embed_dims[-1]
        self.embed = ParticleEmbedding(config)
        self.pair_embed = PairEmbedding(config.pair_embed_dims, config.heads, norm_of(config))
        self.blocks = nn.ModuleList(ParticleBlock(config, config.dropout) for _ in range(config.blocks))
        self.class_blocks = nn.ModuleList(ClassBlock(config, 0.0) for _ in range(config.class_blocks))
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.classes)
        initialise(self)

    def pair_bias(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Attention bias U of the particle blocks.

        Parameters
        ----------
        vectors : Tensor, shape (B, 4, P)
            px, py, pz and energy in GeV.
        mask : Tensor, bool, shape (B, 1, P)

        Returns
        -------
        Tensor, shape (B, H, P, P)
            Symmetric in its last two axes; 0 at padding.
        """
        real = mask.squeeze(1)
        pairs, embedded = self._embedded_pairs(vectors, real)
        return symmetric_bias(embedded, pairs, (real.shape[0], real.shape[1]))

    def _embedded_pairs(self, vectors: Tensor, real: Tensor) -> tuple[Pairs, Tensor]:
        """Pairs of a batch, and their embedding (n_pairs, H)."""
        pairs = real_pairs(real)
        return pairs, self.pair_embed(pair_features(vectors, pairs, self.config.pair_mass))

    def encode(self, features: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        """Class token after the last class block and norm.

        Parameters
        ----------
        features : Tensor, shape (B, F, P)
        vectors : Tensor, shape (B, 4, P)
        mask : Tensor, bool, shape (B, 1, P)

        Returns
        -------
        Tensor, shape (B, W)
        """
        real = mask.squeeze(1)
        size = group_size(len(real), real.device.type)
        if not self.training or len(real) <= size:
            return self.aggregate(self.embed(features, real), real, self.pair_bias(vectors, mask))
        return self._encode_in_groups(self.embed(features, real), vectors, real, size)

    def _encode_in_groups(self, x: Tensor, vectors: Tensor, real: Tensor, size: int) -> Tensor:
        """Class tokens of a batch whose blocks see few jets at a time, trimmed to the longest of them.

        Embeddings see the whole batch, so that their normalisations do.
        """
        pairs, embedded = self._embedded_pairs(vectors, real)
        ends = torch.searchsorted(pairs.jet, torch.arange(len(real) + 1, device=real.device)).tolist()
        lengths, tokens = (real * torch.arange(1, real.shape[1] + 1, device=real.device)).amax(1).tolist(), []
        for first in range(0, len(real), size):
            last = min(first + size, len(real))
            own, longest = slice(ends[first], ends[last]), max(lengths[first:last])
            inside = Pairs(pairs.jet[own] - first, pairs.first[own], pairs.second[own])
            bias = symmetric_bias(embedded[own], inside, (last - first, longest))
            tokens.append(self.aggregate(x[first:last, :longest], real[first:last, :longest], bias))
        return torch.cat(tokens)

    def aggregate(self, x: Tensor, real: Tensor, bias: Tensor) -> Tensor:
        """Blocks and final norm, from embedded particles and pairs on.

        Parameters
        ----------
        x : Tensor, shape (B, P, W)
            Embedded particles.
        real : Tensor, bool, shape (B, P)
        bias : Tensor, shape (B, H, P, P)
            Attention bias U.

        Returns
        -------
        Tensor, shape (B, W)
            Class token.
        """
        for block in self.blocks:
            x = block(x, real, bias)
        token = self.class_token.expand(x.shape[0], -1, -1)
        for block in self.class_blocks:
            token = block(token, x, real)
        return self.norm(token.squeeze(1))

    def forward(self, features: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        """Logits of the classes.

        Parameters
        ----------
        features : Tensor, shape (B, F, P)
            Inputs of each particle, scaled as in the paper's table.
        vectors : Tensor, shape (B, 4, P)
            px, py, pz and energy in GeV.
        mask : Tensor, bool, shape (B, 1, P)
            True for a particle, false for padding; every jet has a particle.

        Returns
        -------
        Tensor, shape (B, C)
        """
        return self.head(self.encode(features, vectors, mask))


def group_size(jets: int, device: str) -> int:
    """Jets of a batch that go through the blocks together in training, on this kind of device."""
    return GROUP if device == "cpu" else max(GROUP, math.ceil(jets / GROUPS_ON_GPU))


def norm_of(config: ParTModel) -> type[nn.BatchNorm1d]:
    """Class of the batch normalisations."""
    return BatchRenorm1d if config.normalisation == "renormalised" else nn.BatchNorm1d


@torch.no_grad()
def initialise(model: ParticleTransformer) -> None:
    """Draw initial weights as weaver-core does.

    Xavier for every matrix but the pair embedding's (queries, keys and values each on their own), zero
    biases, and the residual branches of particle block l over sqrt(2 l).
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not name.startswith("pair_embed"):
            parts = 3 if name.endswith("in_proj") else 1
            limit = math.sqrt(6 / (module.in_features + module.out_features / parts))
            nn.init.uniform_(module.weight, -limit, limit)
            nn.init.zeros_(module.bias)
    for layer, block in enumerate(model.blocks, start=1):
        assert isinstance(block, Block)
        block.attention.out_proj.weight /= math.sqrt(2 * layer)
        block.contract.weight /= math.sqrt(2 * layer)
    nn.init.trunc_normal_(model.class_token, std=0.02)
