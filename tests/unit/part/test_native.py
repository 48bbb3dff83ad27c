"""Compiled blocks are the same function, for every length, and each jet's own."""

import copy
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from test_inference import Jets

from softjet.config.families import FAMILIES
from softjet.config.part import ParTModel
from softjet.errors import InputError
from softjet.latency.work import work_of
from softjet.lowrank import fuse
from softjet.lowrank.low_rank import LowRankLinear, PackedLinear
from softjet.lowrank.selection import all_factors, decompose, set_form
from softjet.lowrank.shared import share_inputs
from softjet.part import compiling, speed
from softjet.part.inference import InferenceModel
from softjet.part.model import ParticleTransformer
from softjet.part.native import NativeModel, library, particle_blocks
from softjet.part.second_look import SecondLook

SHAPE = {"embed_dims": (32, 64), "pair_embed_dims": (16,), "heads": 4, "blocks": 2, "class_blocks": 1}

JETS = Jets([1, 15, 128, 2, 16, 33, 17, 6, 5, 64, 3, 4, 7])


def trained(**changes):
    """A network in which nothing is as it was at the start, attention sharper than that too."""
    torch.manual_seed(1)
    model = ParticleTransformer(ParTModel(**{**SHAPE, **changes})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter) * parameter.abs().mean().clamp_min(0.3))
            if "in_proj.weight" in name:
                parameter.mul_(2)
    return model


def compiled(precision):
    """Whether blocks can be compiled here in this precision."""
    try:
        library(64, 4, 256, getattr(torch, precision))
    except InputError:
        return False
    return True


@pytest.fixture(params=["float32", "bfloat16"])
def precision(request):
    if not compiled(request.param):
        pytest.skip("no compiler, or not the processor for it")
    return request.param


def test_the_blocks_are_those_of_the_model_in_float32():
    if not compiled("float32"):
        pytest.skip("no compiler, or not the processor for it")
    for shape in ({}, {"embed_dims": (128,), "heads": 8, "expansion": 1, "blocks": 1}):
        model = trained(**shape)
        with torch.no_grad():
            expected = model(*JETS.inputs)
        assert expected.std() > 0.1
        torch.testing.assert_close(NativeModel(model, "float32")(*JETS.inputs), expected, rtol=0, atol=1e-5)


def test_bfloat16_is_no_farther_from_float32_than_without():
    if not compiled("bfloat16"):
        pytest.skip("no compiler, or not the processor for it")
    model = trained()
    exact, rough = InferenceModel(model)(*JETS.inputs), InferenceModel(model, "bfloat16")(*JETS.inputs)
    ours = NativeModel(model, "bfloat16")(*JETS.inputs)
    assert 0 < (ours - exact).square().mean() < 1.5 * (rough - exact).square().mean()


def compressed(form, joint):
    """A network with ranks of all kinds, and some matrices that stay dense beside others that do not."""
    model = trained()
    decompose(model, share_inputs(model, FAMILIES["part"]) if joint else FAMILIES["part"])
    set_form(model, form)
    for place, factors in enumerate(all_factors(model)):
        factors.fix((3, 16, 64, 37, 20)[place % 5])
    return fuse(model)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("form", ["pair", "pivot"])
def test_matrices_of_low_rank_stay_so(form, joint, precision):
    model = compressed(form, joint)
    layers = [module for module in model.modules() if isinstance(module, PackedLinear)]
    ranks = {piece.rank for layer in layers for piece in layer.layout}
    assert ranks >= ({3, 16, 37, 20} if joint else {3, 16, None})
    with torch.no_grad():
        expected = model(*JETS.inputs)
    ours, usual = NativeModel(model, precision), InferenceModel(model, precision)
    far, near = (float((made(*JETS.inputs) - expected).abs().max()) for made in (usual, ours))
    assert near < (1e-5 if precision == "float32" else 1.5 * far)
    with torch.inference_mode():
        usual_work, our_work = (work_of(partial(made, *Jets([20] * 6).inputs)) for made in (usual, ours))
    # Ranks go up to whole vectors, and pivots are multiplied as pairs, unless dense is less.
    assert usual_work.total < our_work.total <= dense_work(precision)


def dense_work(precision):
    with torch.inference_mode():
        return work_of(partial(NativeModel(trained(), precision), *Jets([20] * 6).inputs)).total


def test_ranks_of_whole_vectors_take_the_work_of_their_factors(precision):
    model = of_ranks(16)
    with torch.inference_mode():
        made = InferenceModel(model, precision), NativeModel(model, precision)
        usual, ours = (work_of(partial(one, *Jets([20] * 6).inputs)).total for one in made)
    assert ours == usual < dense_work(precision)


@pytest.mark.parametrize("change", ["a dense block", "dense queries", "no rank", "a rank beyond the matrix"])
def test_blocks_may_differ_and_ranks_be_anything(change, precision):
    model = of_ranks(16)
    projection = model.blocks[0].attention
    if change == "a dense block":
        model.blocks[0] = copy.deepcopy(trained().blocks[0])
    elif change == "dense queries":
        projection.in_proj = layer_of(64, [(64, None), (64, 16), (64, 16)])
    else:
        projection.in_proj = layer_of(64, [(64, 0 if change == "no rank" else 300), (64, 16), (64, 16)])
    with torch.no_grad():
        expected = model(*JETS.inputs)
    far, near = (
        float((made(model, precision)(*JETS.inputs) - expected).abs().max())
        for made in (InferenceModel, NativeModel)
    )
    assert near < (1e-5 if precision == "float32" else 1.5 * far)


def of_ranks(rank):
    model = trained()
    decompose(model, FAMILIES["part"])
    for factors in all_factors(model):
        factors.fix(rank)
    return fuse(model)


def layer_of(inputs, layout, bias=False):
    layer = LowRankLinear(inputs, layout, bias)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return layer


def test_what_becomes_of_the_model_is_not_seen(precision):
    for model in (trained(), of_ranks(16)):
        ready = [InferenceModel(model, precision), NativeModel(model, precision)]
        before = [one(*JETS.inputs) for one in ready]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.5)
        assert all(torch.equal(one(*JETS.inputs), found) for one, found in zip(ready, before, strict=True))


def test_autocast_changes_nothing_of_the_blocks(precision):
    ready, usual = NativeModel(trained(), precision), InferenceModel(trained(), precision)
    exact = usual(*JETS.inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        far, near = ((one(*JETS.inputs) - exact).abs().max() for one in (usual, ready))
    assert near < max(1.5 * far, 0.1)


def test_a_jet_is_answered_alike_whatever_stands_beside_it(precision):
    ours = NativeModel(trained(), precision)
    features, vectors, mask = JETS.inputs
    together = ours(features, vectors, mask)
    for place in (0, 2, 5):
        n = int(mask[place].sum())
        alone = ours(*(tensor[place : place + 1, :, :n] for tensor in JETS.inputs))
        torch.testing.assert_close(
            alone[0], together[place], rtol=0, atol=0.1 if precision == "bfloat16" else 1e-5
        )
    spoilt = features.clone()
    spoilt[2, 0, 0] = torch.nan
    found = ours(spoilt, vectors, mask)
    others = torch.arange(len(mask)) != 2
    assert found[2].isnan().all()
    assert torch.equal(found[others], together[others])


def test_batches_side_by_side_do_not_meet(precision):
    ours = NativeModel(trained(), precision)
    batches = [Jets([3 + seed, 40 - seed, 9], seed=seed).inputs for seed in range(12)]
    one_by_one = [ours(*batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: ours(*batch), batches))
    assert all(map(torch.equal, one_by_one, together))


def test_jets_that_are_too_long_and_none_at_all_go_the_usual_way(precision):
    model = trained(max_particles=140)
    ours, usual = NativeModel(model, precision), InferenceModel(model, precision)
    long = Jets([130, 5])
    assert torch.equal(ours(*long.inputs), usual(*long.inputs))
    assert ours(*(tensor[:0] for tensor in JETS.inputs)).shape == (0, 10)
    hollow = JETS.mask.clone()
    hollow[3] = False
    rest = [place for place in range(len(hollow)) if place != 3]
    filled = ours(*JETS.inputs)[rest]
    assert torch.equal(ours(JETS.features, JETS.vectors, hollow)[rest], filled)


@pytest.mark.parametrize(
    ("lengths", "particles", "pairs"), [([3, 3], 3, 6), ([2, 1], 3, 6), ([129], 129, 8385), ([5, -2], 3, 16)]
)
def test_lengths_that_are_not_those_of_the_arrays_are_refused(lengths, particles, pairs):
    x, pairs = torch.zeros(particles, 64), torch.zeros(pairs, 4)
    with pytest.raises(InputError, match="lengths: ask for"):
        particle_blocks(x, pairs, torch.tensor(lengths), torch.zeros(1), torch.zeros(4, 3), 1, 4, 256)


def test_weights_that_are_not_those_of_the_shapes_are_refused(precision):
    model = NativeModel(trained(), precision)
    x, pairs = torch.zeros(3, 64, dtype=model.dtype), torch.zeros(6, 4)
    short = model.packed[:-1], model.shapes
    with pytest.raises(
        InputError, match=r"weights: are \d+ of 32 bits, not the \d+ that their shapes ask for"
    ):
        particle_blocks(x, pairs, torch.tensor([3]), *short, 2, 4, 256)


def test_the_work_is_counted_as_that_of_the_model(precision):
    model, jets = trained(), Jets([20] * 6)
    with torch.inference_mode():
        made = InferenceModel(model, precision), NativeModel(model, precision)
        usual, ours = (work_of(partial(one, *jets.inputs)) for one in made)
    assert ours.flops == usual.flops
    assert ours.read == pytest.approx(usual.read, rel=0.1)


def test_close_calls_are_answered_again_by_compiled_blocks(precision):
    model = trained()
    second = SecondLook(model, margin=1.1, prepared=NativeModel) if compiled("bfloat16") else None
    if second is None:
        pytest.skip("not the processor for it")
    torch.testing.assert_close(
        second(*JETS.inputs), NativeModel(model, "float32")(*JETS.inputs), rtol=0, atol=1e-5
    )


def test_what_they_are_not_made_for_is_refused(monkeypatch):
    with pytest.raises(InputError, match="16 wide with 2 heads, not a multiple of 64 with heads of 16"):
        NativeModel(trained(embed_dims=(16,), heads=2))
    with pytest.raises(InputError, match="precision: float16: give float32 or bfloat16"):
        NativeModel(trained(), "float16")
    factored = trained()
    decompose(factored, FAMILIES["part"])
    with pytest.raises(InputError, match="has a SoftThresholdLinear where a linear layer was; do without"):
        NativeModel(factored)
    odd = compressed("pair", False)
    odd.blocks[0].contract = LowRankLinear(256, [(63, 5), (1, 5)])
    with pytest.raises(InputError, match="has a matrix of 63 outputs; do without"):
        NativeModel(odd)
    compiling.compiled.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(InputError, match="there is no no-such-compiler; install one, or name it by CC"):
        NativeModel(trained(), "float32")
    assert speed._native(trained()) == {}
    monkeypatch.delenv("CC")
    monkeypatch.setattr(compiling, "FLAGS", ("-mno-avx512f", "-shared", "-fPIC"))
    with pytest.raises(InputError, match=r"cannot compile it .*no vectors of sixteen floats.*do without"):
        NativeModel(trained(), "float32")
    compiling.compiled.cache_clear()
