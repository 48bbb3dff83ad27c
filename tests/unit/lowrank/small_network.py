"""A small network with packed and plain layers in blocks, and its task; as a script, it learns ranks."""

import itertools
import sys
from pathlib import Path

import torch
from torch import nn

from softjet.config.lowrank import Matrices, RankLearning, Selection
from softjet.lowrank import learn_ranks

SELECTION = Selection(
    matrices=(
        Matrices(path="blocks.*.packed", pieces=("first", "second", "third")),
        Matrices(path="blocks.*.wide"),
    ),
    blocks=("blocks",),
)
SETTINGS = RankLearning(
    precision="float32",
    keep=0.6,
    learn_steps=40,
    recover_steps=12,
    threshold_rate=0.1,
    rank_floor=2,
    redecompose_every=10,
)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.packed = nn.Linear(width, 3 * width)
        self.wide = nn.Linear(width, 2 * width, bias=False)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        a, b, c = self.packed(x).chunk(3, -1)
        return x + self.dropout(torch.tanh(a) * b + c) + torch.tanh(self.wide(x)).chunk(2, -1)[0]


class Network(nn.Module):
    def __init__(self, width=16, blocks=2):
        super().__init__()
        self.enter = nn.Linear(6, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.leave = nn.Linear(width, 3)

    def forward(self, x):
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return self.leave(x)


def network(seed=0):
    torch.manual_seed(seed)
    return Network()


def batches(start):
    for step in itertools.count(start):
        x = torch.randn(32, 6, generator=torch.Generator().manual_seed(step))
        yield x, torch.stack((x[:, 0] * x[:, 1], x[:, 2:4].sum(1), x[:, 4].sin()), 1)


def loss(model, batch):
    return nn.functional.mse_loss(model(batch[0]), batch[1])


if __name__ == "__main__":
    state, target = map(Path, sys.argv[1:3])
    model = network()
    learn_ranks(model, SELECTION, batches, loss, SETTINGS.model_copy(update={"save_every": 1e-9}), state)
    torch.save(model.state_dict(), target)
