"""Particle Transformer (H. Qu, C. Li, S. Qian, arXiv 2202.03772), to the letter of the published model.

The defaults are the published shape: 8 particle blocks, 2 class blocks, 128 wide, 8 heads; 2,143,486
parameters with 17 features and 10 classes. With the same weights it gives weaver-core 0.5.3's logits.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from softjet.config.part import N_FEATURES, ParTModel
from softjet.part.blocks import Block, ClassBlock, ParticleBlock
from softjet.part.norm import BatchRenorm1d
from softjet.part.packing import grouped, rows_of
from softjet.part.pairs import PairEmbedding, pair_features, real_pairs, symmetric_bias


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
        rows = self.rows(features, real)
        return rows.new_zeros(*real.shape, rows.shape[-1]).masked_scatter_(real[..., None], rows)

    def rows(self, features: Tensor, real: Tensor) -> Tensor:
        """Embed the real particles, jet by jet; shapes (B, F, P), (B, P) -> (n, W)."""
        if self.counts_padding:
            return self.layers(self.norm(features).transpose(1, 2)[real])
        return self.layers(self.norm(features.transpose(1, 2)[real]))


class ParticleTransformer(nn.Module):
    """Particle Transformer.

    Parameters
    ----------
    config : ParTModel
        Shape; `config` stays an attribute.

    Attributes
    ----------
    compiled : callable, optional
        From embedded particles (n, W), pair features (n_pairs, 4) and the jets' lengths (B,) to class tokens
        (B, W) in training, in place of PyTorch's operations (`softjet.part.native_training`). It calls no
        hooks, and is not taken where attention is edited.
    """

    compiled: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None

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
        pairs = real_pairs(real)
        embedded = self.pair_embed(pair_features(vectors, pairs, self.config.pair_mass))
        return symmetric_bias(embedded, pairs, (real.shape[0], real.shape[1]))

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
        if self.training:
            return self._encode_rows(features, vectors, real)
        return self.aggregate(self.embed(features, real), real, self.pair_bias(vectors, mask))

    def _encode_rows(self, features: Tensor, vectors: Tensor, real: Tensor) -> Tensor:
        """Class tokens of a batch in any order of length: padding is of groups, and for attention alone."""
        rows = self.embed.rows(features, real)
        pairs = real_pairs(real)
        pair_rows = pair_features(vectors, pairs, self.config.pair_mass)
        if self.compiled is not None and not self._edited():
            return self.norm(self.compiled(rows, pair_rows, real.sum(1)))
        groups = grouped(real, pairs, self.pair_embed(pair_rows))
        for block in self.blocks:
            assert isinstance(block, ParticleBlock)
            rows = block.forward_rows(rows, groups)
        return torch.cat(
            [self._class_token(group.padded(own), group.real) for group, own in rows_of(groups, rows)]
        )

    def _edited(self) -> bool:
        return any(block.attention.edit is not None for block in (*self.blocks, *self.class_blocks))

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
        return self._class_token(x, real)

    def _class_token(self, x: Tensor, real: Tensor) -> Tensor:
        """Class token (B, W) of particles (B, P, W) after their last block."""
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
