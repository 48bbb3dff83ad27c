import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from softjet.attention.head_ranks import MATRICES, head_spectra, head_table, learned_thresholds, matrix_of


class Halves(nn.Module):
    """A linear layer that is kept as two."""

    def __init__(self, linear, rank):
        super().__init__()
        left, sigma, right = torch.linalg.svd(linear.weight.detach().double(), full_matrices=False)
        self.in_features, self.bias = linear.in_features, linear.bias
        self.inner = nn.Parameter(right[:rank].float())
        self.outer = nn.Parameter((left[:, :rank] * sigma[:rank]).float())

    def forward(self, x):
        return nn.functional.linear(nn.functional.linear(x, self.inner), self.outer, self.bias)


@pytest.fixture
def compressed(model):
    """The model with the layers of its second block at rank 3."""
    small = copy.deepcopy(model)
    attention = small.blocks[1].attention
    attention.in_proj, attention.out_proj = Halves(attention.in_proj, 3), Halves(attention.out_proj, 3)
    return small


def cells(table, quantity):
    own = table[table.quantity == quantity]
    return own.set_index(["detail", "layer", "head"])


def test_the_matrix_is_read_off_whatever_the_layer_is(model, compressed):
    linear = model.blocks[1].attention.in_proj
    assert torch.allclose(matrix_of(linear), linear.weight.double(), atol=1e-12)
    halves = compressed.blocks[1].attention.in_proj
    assert torch.allclose(matrix_of(halves), (halves.outer.double() @ halves.inner.double()), atol=1e-12)
    assert linear.weight.dtype == torch.float32


def test_heads_own_rows_of_query_key_and_value_and_columns_of_the_output(model):
    weight = model.blocks[2].attention.in_proj.weight.detach().double()
    output = model.blocks[2].attention.out_proj.weight.detach().double()
    found = {(one.matrix, one.head): one.values for one in head_spectra(model) if one.layer == 2}
    assert set(found) == {(matrix, head) for matrix in MATRICES for head in (0, 1)}
    # 16 wide with 2 heads: keys of head 1 are rows 16 + 8 and on.
    assert torch.allclose(found["key", 1], torch.linalg.svdvals(weight[24:32]))
    assert torch.allclose(found["output", 1], torch.linalg.svdvals(output[:, 8:]))
    assert {one.layer for one in head_spectra(model)} == {0, 1, 2, 3, 4}


def test_ranks_of_a_compressed_block_are_at_most_those_of_its_matrices(model, compressed):
    table = cells(head_table(compressed, model, {}), "head_rank")
    assert (table.dense == 8).all()
    assert (table.value[table.index.get_level_values("layer") == 1] == 3).all()
    assert (table.value[table.index.get_level_values("layer") != 1] == 8).all()


def test_a_destroyed_head_has_no_rank(model):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.blocks[0].attention.in_proj.weight[32:40] = 0
    table = head_table(broken, model, {})
    for quantity in ("head_rank", "head_effective_rank"):
        own = cells(table, quantity)
        assert own.value["value", 0, 0] == 0
        rest = own.drop(("value", 0, 0))
        assert np.allclose(rest.value, rest.dense)
        assert (rest.value > 1).all()


def test_the_effective_rank_of_equal_singular_values_is_their_number(model):
    with torch.no_grad():
        model.blocks[0].attention.out_proj.weight.copy_(torch.eye(16))
    found = cells(head_table(model, model, {}), "head_effective_rank")
    assert found.value["output", 0, 0] == pytest.approx(8)


def test_thresholds_count_in_both_models_alike_and_only_where_learned(model):
    values = torch.linalg.svdvals(model.blocks[0].attention.in_proj.weight[:8].detach().double())
    cut = float(values[2:4].mean())
    smaller = copy.deepcopy(model)
    with torch.no_grad():
        smaller.blocks[0].attention.in_proj.weight[:8] *= 1e-3
    table = cells(
        head_table(smaller, model, {("blocks.0.attention.in_proj", "query"): cut}), "head_above_threshold"
    )
    assert set(table.index) == {("query", 0, 0), ("query", 0, 1)}
    assert table.dense["query", 0, 0] == 3
    assert table.value["query", 0, 0] == 0


def test_thresholds_are_taken_in_the_units_of_the_matrix():
    ranks = pd.DataFrame(
        {
            "module": ["a", "a", "b"],
            "piece": ["query", "key", ""],
            "threshold": [1.0, 2.0, 3.0],
            "threshold_raw": [0.1, np.nan, 0.3],
        }
    )
    assert learned_thresholds(ranks) == {("a", "query"): 0.1, ("b", ""): 0.3}
    assert learned_thresholds(ranks.drop(columns="threshold_raw")) == {}
