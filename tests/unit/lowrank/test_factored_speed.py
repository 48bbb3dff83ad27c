"""What factored matrices gain is measured beside what they could gain."""

import math
import time

import pytest
import torch
from torch import nn

from softjet.config.families import FAMILIES
from softjet.config.lowrank import Matrices, Selection
from softjet.lowrank.layer import LowRankLinear
from softjet.lowrank.speed import factored, measure_factored, table_of

SELECTION = Selection(
    matrices=(Matrices(path="blocks.*.wide", pieces=("a", "b")), Matrices(path="blocks.*.back")),
    blocks=("blocks",),
)


class Slow(nn.Module):
    """Something other than a linear layer, which takes its time."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def forward(self, x):
        if self.seconds:  # To sleep for no time lets other processes go first.
            time.sleep(self.seconds)
        return x


class Stack(nn.Module):
    def __init__(self, width, seconds):
        super().__init__()
        block = {
            "wide": nn.Linear(width, 2 * width),
            "back": nn.Linear(2 * width, width),
            "slow": Slow(seconds),
        }
        self.blocks = nn.ModuleList([nn.ModuleDict(block)])

    def forward(self, x):
        (block,) = self.blocks
        return block["slow"](block["back"](block["wide"](x)))


def test_each_matrix_keeps_its_share():
    model = Stack(32, 0)
    small = factored(model, SELECTION, 0.5)
    wide, back = small.blocks[0]["wide"], small.blocks[0]["back"]
    # 32 x 32 twice, rank 8 of 16 that half of the parameters allow; 32 x 64.
    assert [piece.rank for piece in wide.layout] == [8, 8]
    assert [piece.rank for piece in back.layout] == [10]
    assert isinstance(model.blocks[0]["wide"], nn.Linear)
    assert small(torch.randn(3, 32)).shape == (3, 32)


def test_the_share_of_the_linear_layers_bounds_the_gain():
    torch.manual_seed(0)
    rows = torch.randn(64, 512)

    def measured(seconds):
        model = Stack(512, seconds).eval()
        setting = {"batch": 64, "length": 1}
        return measure_factored(model, SELECTION, lambda m: m(rows), 0.5, 7, setting, noise=100.0)

    mostly, hardly = measured(0.0), measured(0.2)
    assert mostly["linear_share"] > 0.4
    assert hardly["linear_share"] < 0.2
    for row in (mostly, hardly):
        share = row["linear_share"]
        assert row["kept"] == pytest.approx(0.5, abs=0.01)
        assert row["bound"] == pytest.approx(1 / (1 - share + share * row["kept"]))
        assert row["dense_flops"] == 2 * 64 * 2 * 512 * 1024
        assert row["flops_float32"] == pytest.approx(row["dense_flops"] * row["kept"])
        given, offsets = 4 * 64 * 512, 4 * (512 + 1024)
        assert row["dense_bytes_read"] == 4 * 2 * 512 * 1024 + offsets + given
        least = 4 * 2 * 512 * 1024 * row["kept"] + offsets + given
        assert row["bytes_read"] == pytest.approx(least, rel=0.02)
    assert hardly["ratio"] == pytest.approx(1, abs=0.15)
    table = table_of([mostly, hardly])
    assert table["of_bound"].tolist() == (table["ratio"] / table["bound"]).tolist()
    assert table[["batch", "length", "pairs"]].iloc[0].tolist() == [64, 1, 7]


def test_a_machine_that_is_too_noisy_gives_no_share_and_no_bound():
    rows, setting = torch.randn(4, 8), {"batch": 4, "length": 1}
    row = measure_factored(Stack(8, 0).eval(), SELECTION, lambda m: m(rows), 0.5, 4, setting, noise=0.0)
    assert row["linear_note"].startswith("too noisy")
    assert math.isnan(row["linear_share"])
    assert math.isnan(row["bound"])
    assert math.isnan(row["ratio"])


def test_layers_that_are_read_by_their_weight_can_be_left_out():
    kept = FAMILIES["mamba"].without(["dt_proj"])
    assert [m.path.rpartition(".")[2] for m in kept.matrices] == ["in_proj", "x_proj", "out_proj"]
    assert kept.blocks == FAMILIES["mamba"].blocks


def test_a_factored_layer_has_the_offset_of_the_dense_one():
    small = factored(Stack(16, 0), SELECTION, 1e-9)
    wide = small.blocks[0]["wide"]
    assert isinstance(wide, LowRankLinear)
    assert [piece.rank for piece in wide.layout] == [1, 1]
    assert wide.bias is not None
