"""The work of a call: FLOPs of its products, and what it reads."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from softjet.latency.work import work_of


def test_a_linear_layer_multiplies_and_adds_for_each_weight_and_reads_it_once():
    layer, rows = nn.Linear(30, 20), torch.randn(7, 30)
    with torch.inference_mode():
        work = work_of(lambda: layer(layer(rows) @ torch.ones(20, 30)))
    assert work.flops == {"float32": 3 * 2 * 7 * 30 * 20}
    # Weights, bias and rows; what is made on the way does not count.
    assert work.read == 4 * (30 * 20 + 20 + 7 * 30)
    assert work.columns() == {"flops_float32": work.total, "flops_bfloat16": 0, "bytes_read": work.read}


def test_precisions_are_told_apart():
    half, rows = nn.Linear(8, 4).bfloat16(), torch.randn(3, 8)
    work = work_of(lambda: half(rows.bfloat16()).float() @ torch.ones(4, 2))
    assert work.flops == {"bfloat16": 2 * 3 * 8 * 4, "float32": 2 * 3 * 4 * 2}


def test_differentiation_counts_and_the_mean_of_calls_is_given():
    layer = nn.Linear(16, 16, bias=False)
    sizes = iter([2, 4])

    def call():
        layer(torch.randn(next(sizes), 16)).sum().backward()

    # Forward, and backward to the weights alone: the rows are no parameter.
    assert work_of(call, calls=2).flops == {"float32": 2 * 2 * 3 * 16 * 16}


def test_a_transformer_has_the_flops_that_pytorch_counts():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    rows = torch.randn(2, 5, 16)
    with FlopCounterMode(display=False) as counter, nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        layer(rows).sum().backward()
    assert work_of(lambda: layer(rows).sum().backward()).total == pytest.approx(
        counter.get_total_flops(), rel=0.15
    )


def test_fused_attention_on_a_processor_counts():
    q, k, v = torch.randn(3, 2, 3, 4, 8, requires_grad=True)
    product = 2 * (2 * 3) * 4 * 4 * 8
    work = work_of(lambda: functional.scaled_dot_product_attention(q, k, v).sum().backward())
    # Logits and their products with values; backward the logits again, and two products for each of these.
    assert work.total == (2 + 5) * product


def test_a_table_of_embeddings_is_not_read_whole():
    table, weight = nn.Embedding(1000, 4), torch.randn(4, 4)
    work = work_of(lambda: table(torch.tensor([3, 5])) @ weight)
    assert work.read == weight.nbytes
