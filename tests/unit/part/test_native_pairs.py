"""The compiled pair embedding trains as the module does, whatever the number of rows and threads."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from softjet.errors import InputError
from softjet.part import compiling
from softjet.part.native_pairs import CompiledPairEmbedding, pair_embedding, pair_embedding_backward
from softjet.part.norm import BatchRenorm1d
from softjet.part.pairs import PairEmbedding

CANCELLED = {"0.bias", "1.bias", "4.bias", "7.bias", "10.bias"}
"""Biases that a normalisation takes away again: their gradient is 0, and rounding in the module."""


def embedding(widths=(64, 64, 64), heads=8, norm=BatchRenorm1d):
    """An embedding in which nothing is as it was at the start."""
    torch.manual_seed(3)
    made = PairEmbedding(widths, heads, norm).train()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter) * parameter.abs().mean().clamp_min(0.3))
    return made


def features(n, seed=0):
    torch.manual_seed(seed)
    return torch.randn(n, 4) * torch.tensor([2.0, 1, 1, 4]) + torch.tensor([-1.0, -2, -1.5, -3])


def ours(module, dtype=torch.float32):
    try:
        return CompiledPairEmbedding(module, dtype)
    except InputError as error:
        if "compile" in error.problem or "there is no" in error.problem:
            pytest.skip("no compiler, or not the processor for it")
        raise


@pytest.fixture
def threads():
    """Set the number of threads, for this test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def step(call, module, rows):
    """Result, gradients and buffers of one step; what is upstream comes from the number of rows."""
    torch.manual_seed(len(rows))
    module.zero_grad()
    out = call(rows)
    out.backward(torch.randn(out.shape).to(out.dtype))
    gradients = {name: parameter.grad.double() for name, parameter in module.named_parameters()}
    return out.detach().double(), gradients, {name: buffer.clone() for name, buffer in module.named_buffers()}


def autocast(module):
    def call(rows):
        with torch.autocast("cpu", torch.bfloat16):
            return module(rows)

    return call


def close(found, expected, rate):
    torch.testing.assert_close(
        found.double(), expected.double(), rtol=0, atol=rate * float(expected.abs().max())
    )


@pytest.mark.parametrize(
    ("widths", "heads"), [((64, 64, 64), 8), ((16,), 1), ((48, 128), 16), ((128, 16, 80), 5)]
)
def test_training_is_that_of_the_module_in_float64(widths, heads, threads):
    module = embedding(widths, heads)
    exact, call = copy.deepcopy(module).double(), ours(module)
    for n, count in ((1500, 2), (2, 3), (47, 2), (145, 4), (1001, 3)):
        rows = features(n, seed=n)
        threads(1)
        expected = step(exact, exact, rows.double())
        threads(count)
        out, gradients, buffers = step(call, module, rows)
        assert out.shape == (n, heads)
        close(out, expected[0], 2e-5)
        for name, gradient in gradients.items():
            if name in CANCELLED:
                assert not gradient.any()
                assert expected[1][name].abs().max() < 1e-9
            elif n > 2:  # two rows are the two signs, and nothing else has a gradient
                close(gradient, expected[1][name], 5e-5)
        for name, buffer in buffers.items():
            close(buffer, expected[2][name], 2e-6)


def test_bfloat16_is_no_farther_from_the_truth_than_autocast():
    module = embedding()
    exact, rough = copy.deepcopy(module).double(), copy.deepcopy(module)
    call = ours(module, torch.bfloat16)
    for n in (3001, 1500):
        rows = features(n, seed=n)
        truth, usual = step(exact, exact, rows.double()), step(autocast(rough), rough, rows)
        found = step(call, module, rows)
        assert 0 < (found[0] - truth[0]).norm() < 1.5 * (usual[0] - truth[0]).norm()
        far = [torch.cat([(one[1][k] - truth[1][k]).flatten() for k in truth[1]]) for one in (found, usual)]
        assert 0 < far[0].norm() < 1.5 * far[1].norm()


def test_gradients_are_differences_of_the_loss():
    module = embedding((16, 16), 3)
    for norm in (layer for layer in module if isinstance(layer, BatchRenorm1d)):
        norm.momentum = 1.0  # by its own batch, where the gradient of the module is that of its output
    rows, call = features(300), ours(module)
    torch.manual_seed(0)
    weights = torch.randn(300, 3)
    (call(rows) * weights).sum().backward()
    for name in ("0.weight", "1.weight", "2.bias", "4.weight", "5.weight", "7.weight", "8.bias"):
        parameter = module.get_parameter(name)
        direction = torch.randn_like(parameter)
        sides = []
        with torch.no_grad():
            for sign in (1, -2):
                parameter.add_(direction, alpha=sign * 1e-2)
                sides.append(float((call(rows).double() * weights).sum()))
            parameter.add_(direction, alpha=1e-2)
        slope = (sides[0] - sides[1]) / 2e-2
        assert float((parameter.grad * direction).sum()) == pytest.approx(slope, rel=0.02, abs=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_threads_give_the_same_bits(dtype, threads):
    rows = features(1003)
    for count in (1, 3):
        threads(count)
        once, again = (step(ours(module, dtype), module, rows) for module in (embedding(), embedding()))
        assert torch.equal(once[0], again[0])
        for place in (1, 2):
            assert all(torch.equal(once[place][name], again[place][name]) for name in once[place])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_that_are_no_numbers_give_none(dtype):
    module, rows = embedding((16,), 2), features(200)
    rows[130, 2] = torch.nan
    out, gradients, buffers = step(ours(module, dtype), module, rows)
    assert out.isnan().all()
    assert gradients["1.weight"].isnan().all()
    assert buffers["0.running_mean"].isnan().tolist() == [False, False, True, False]
    assert buffers["5.running_var"].isnan().all()


def test_a_single_row_has_no_variance_and_none_is_refused():
    module, usual = embedding((16,), 2), embedding((16,), 2)
    (out, _, buffers), expected = step(ours(module), module, features(1)), step(usual, usual, features(1))
    assert out.isnan().all()
    assert expected[0].isnan().all()
    for name, buffer in buffers.items():
        torch.testing.assert_close(buffer, expected[2][name], equal_nan=True)
    with pytest.raises(
        InputError, match=r"rows: give float32 \(1, 4\) on the processor, not float32 \(0, 4\)"
    ):
        ours(module)(features(0))
    assert int(module[0].num_batches_tracked) == 1


def test_evaluation_is_the_modules():
    module = embedding((16,), 2)
    call = ours(module, torch.bfloat16)
    assert call(features(100)).dtype == torch.bfloat16
    module.eval()
    assert torch.equal(call(features(9)), module(features(9)).bfloat16())


def test_the_work_is_counted():
    module = embedding()
    call, rows = ours(module), features(100)
    multiply_adds = 4 * 64 + 64 * 64 + 64 * 64 + 64 * 8
    with FlopCounterMode(display=False) as forward:
        out = call(rows)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    assert forward.get_total_flops() == 2 * 100 * multiply_adds
    assert backward.get_total_flops() == 2 * 100 * (2 * multiply_adds - 4 * 64)


def test_what_it_is_not_made_for_is_refused(monkeypatch):
    with pytest.raises(InputError, match="has other normalisations than BatchRenorm1d; take the module"):
        CompiledPairEmbedding(embedding(norm=nn.BatchNorm1d), torch.float32)
    for widths, heads in (((24,), 8), ((144,), 8), ((16,), 17), ((), 8)):
        with pytest.raises(InputError, match=r"model: has layers \[.*\] wide, not multiples of 16 up to 128"):
            CompiledPairEmbedding(embedding(widths, heads), torch.float32)
    with pytest.raises(InputError, match="precision: float16: give float32 or bfloat16"):
        CompiledPairEmbedding(embedding(), torch.float16)
    with pytest.raises(InputError, match="weight: give float32"):
        CompiledPairEmbedding(embedding().double(), torch.float32)
    factored = embedding()
    factored[4] = nn.Sequential(nn.Linear(64, 4), nn.Linear(4, 64))
    with pytest.raises(InputError, match=r"has other layers than nn\.Linear with biases"):
        CompiledPairEmbedding(factored, torch.float32)
    compiling.compiled.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(InputError, match="there is no no-such-compiler"):
        CompiledPairEmbedding(embedding(), torch.float32)
    compiling.compiled.cache_clear()


def test_arrays_that_do_not_fit_are_refused():
    module = embedding((16,), 2)
    call, rows = ours(module), features(50)
    with pytest.raises(InputError, match="rows: want a gradient"):
        call(rows.clone().requires_grad_())
    with pytest.raises(InputError, match=r"rows: give float32 \(50, 4\)"):
        call(rows[:, :3])
    parameters = [parameter.detach() for parameter in module.parameters()]
    _, *kept = pair_embedding(rows, parameters, call.running(), call.shares(), [1e-5] * 3, torch.float32)
    with pytest.raises(InputError, match=r"upstream: give float32 \(50, 2\)"):
        pair_embedding_backward(torch.zeros(50, 3), rows, parameters, kept)
    with pytest.raises(InputError, match=r"kept: give float32 \(49, 16\)"):
        pair_embedding_backward(torch.zeros(49, 2), rows[:49], parameters, kept)
    with pytest.raises(InputError, match=r"shift: give float32 \(16,\)"):
        pair_embedding(rows, [*parameters[:5], parameters[5][:9], *parameters[6:]], [], [], [], torch.float32)


@pytest.mark.parametrize("place", [0, 1500])
def test_a_row_far_from_all_others_does_no_harm_wherever_it_stands(place):
    rows = torch.tensor([[-1.0, -0.7, -18.42, 3.0]]).repeat(3000, 1)
    rows[place] = torch.tensor([-18.42, -10, -1, -18])
    with torch.no_grad():
        expected = embedding().double()(rows.double())
        found = ours(embedding())(rows)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)
