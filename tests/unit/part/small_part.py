"""Small jets in memory and the shape of a small model, for the tests of softjet.part."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from softjet.config.part import ParTModel


@dataclass
class Batch:
    features: Tensor
    vectors: Tensor
    mask: Tensor
    labels: Tensor
    rows: Tensor

    def piece(self, share: tuple[int, int]) -> "Batch":
        rank, world = share
        return Batch(*(tensor[rank::world] for tensor in vars(self).values()))


class Jets:
    """Jets in memory: class 1 is wider and has more particles; a loader as softjet.part.train wants it."""

    def __init__(self, n_jets: int, batch_size: int = 16, seed: int = 0, longest: int = 12) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal() -> Tensor:
            return torch.randn(n_jets, longest, generator=generator)

        self.n_jets, self.batch_size, self.seed = n_jets, batch_size, seed
        self.labels = torch.arange(n_jets) % 2
        wide = (0.05 + 0.6 * self.labels)[:, None]
        pt, eta, phi = (2 + normal()).exp(), wide * normal(), 3 + wide * normal()
        px, py, pz = pt * phi.cos(), pt * phi.sin(), pt * eta.sinh()
        self.vectors = torch.stack((px, py, pz, (px**2 + py**2 + pz**2 + 0.02).sqrt()), dim=1)
        lengths = torch.randint(1, longest, (n_jets,), generator=generator) + self.labels
        self.mask = torch.arange(longest)[None, None] < lengths[:, None, None]
        shape = pt.log(), pt.log() - 1, -pt.log(), pt.log() / 2, wide * normal(), eta, phi - 3
        self.features = torch.stack(shape, dim=1) * self.mask

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.n_jets // self.batch_size)

    def take(self, rows: Tensor) -> Batch:
        return Batch(self.features[rows], self.vectors[rows], self.mask[rows], self.labels[rows], rows)

    def training(self, start_step: int = 0, share: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        step = start_step
        while True:
            generator = torch.Generator().manual_seed(1000 * self.seed + step)
            rows = torch.randint(self.n_jets, (self.batch_size,), generator=generator)
            yield self.take(rows).piece(share)
            step += 1

    def evaluation(self, share: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        for rows in self.mask.sum(-1).flatten().argsort().split(self.batch_size):
            yield self.take(rows).piece(share)


SMALL = ParTModel(
    features="kin", classes=2, embed_dims=(8, 16), pair_embed_dims=(8,), heads=2, blocks=2, class_blocks=1
)
