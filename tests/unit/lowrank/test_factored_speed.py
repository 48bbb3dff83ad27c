"""What factored matrices gain is measured beside what they could gain."""

import math

import pytest
import torch
from torch import nn

from softjet.config.lowrank import Matrices, Selection
from softjet.lowrank.low_rank import LowRankLinear
from softjet.lowrank.speed import factored, measure_factored, table_of

SELECTION = Selection(
    matrices=(Matrices(path="blocks.*.wide", pieces=("a", "b")), Matrices(path="blocks.*.back")),
    blocks=("blocks",),
)


class Slow(nn.Module):
    """Something other than a linear layer, which takes its time."""

    def __init__(self, nanoseconds):
        super().__init__()
        self.nanoseconds = nanoseconds

    def forward(self, x):
        Clock.now += self.nanoseconds
        return x


class Clock:
    now = 0


@pytest.fixture
def clock(monkeypatch):
    """A clock that products move by a nanosecond a weight, and nothing else but `Slow`."""
    product = nn.functional.linear

    def timed(x, weight, bias=None):
        Clock.now += weight.numel()
        return product(x, weight, bias)

    monkeypatch.setattr(nn.functional, "linear", timed)
    monkeypatch.setattr("softjet.latency.pairs.time.perf_counter_ns", lambda: Clock.now)


class Stack(nn.Module):
    def __init__(self, width, nanoseconds):
        super().__init__()
        block = {
            "wide": nn.Linear(width, 2 * width),
            "back": nn.Linear(2 * width, width),
            "slow": Slow(nanoseconds),
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


@pytest.mark.usefixtures("clock")
def test_the_share_of_the_linear_layers_bounds_the_gain():
    rows, weights = torch.randn(64, 32), 4 * 32 * 32

    def measured(nanoseconds):
        setting = {"batch": 64, "length": 1}
        model = Stack(32, nanoseconds).eval()
        return measure_factored(model, SELECTION, lambda m: m(rows), 0.5, 7, setting)

    alone, half = measured(0), measured(weights)
    kept = (2 * 8 * 64 + 10 * 96) / weights
    assert (alone["kept"], half["kept"]) == pytest.approx((kept, kept))
    assert (alone["linear_share"], half["linear_share"]) == pytest.approx((1, 0.5))
    assert (alone["bound"], half["bound"]) == pytest.approx((1 / kept, 1 / (0.5 + 0.5 * kept)))
    given = 4 * (64 * 32 + 64 + 32)
    for row in (alone, half):
        assert (row["dense_flops"], row["flops_float32"]) == (2 * 64 * weights, 2 * 64 * kept * weights)
        assert (row["dense_bytes_read"], row["bytes_read"]) == (
            4 * weights + given,
            4 * kept * weights + given,
        )
    table = table_of([alone, half])
    assert table["of_bound"].tolist() == pytest.approx([1, 1])
    assert table[["batch", "length", "pairs"]].iloc[0].tolist() == [64, 1, 7]


def test_a_machine_that_is_too_noisy_gives_no_share_and_no_bound():
    rows, setting = torch.randn(4, 8), {"batch": 4, "length": 1}
    row = measure_factored(Stack(8, 0).eval(), SELECTION, lambda m: m(rows), 0.5, 4, setting, noise=0.0)
    assert row["linear_note"].startswith("too noisy")
    assert math.isnan(row["linear_share"])
    assert math.isnan(row["bound"])
    assert math.isnan(row["ratio"])


def test_stacks_are_called_before_the_clock_counts():
    rows, model, called = torch.randn(4, 8), Stack(8, 0).eval(), []

    def call(stack):
        called.append(stack is model)
        return stack(rows)

    measure_factored(model, SELECTION, call, 0.5, 4, {"batch": 4, "length": 1})
    # Beside timed calls: one of each whose work is counted, one of the dense for what its layers are given.
    assert called.count(False) > 1 + 4
    assert called.count(True) > 2 + 2 * 4


def test_a_factored_layer_has_the_offset_of_the_dense_one():
    small = factored(Stack(16, 0), SELECTION, 1e-9)
    wide = small.blocks[0]["wide"]
    assert isinstance(wide, LowRankLinear)
    assert [piece.rank for piece in wide.layout] == [1, 1]
    assert wide.bias is not None
