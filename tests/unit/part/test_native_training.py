"""Training by compiled blocks: the same function, and its gradients."""

import copy
import logging

import pytest
import torch
from safetensors.torch import load_file
from small_part import Jets as LabelledJets
from test_inference import Jets
from test_native import trained
from torch.utils.flop_counter import FlopCounterMode

from softjet.config.families import FAMILIES
from softjet.config.part import ParTRun, Training
from softjet.errors import InputError
from softjet.latency.work import work_of
from softjet.lowrank.selection import decompose
from softjet.part import compiling
from softjet.part.feeding import training_step
from softjet.part.native_pairs import CompiledPairEmbedding
from softjet.part.native_tokens import token_attention
from softjet.part.native_training import CompiledTraining, blocks_forward, compile_for
from softjet.part.packing import grouped, rows_of
from softjet.part.pairs import real_pairs
from softjet.part.train import train_part

JETS = Jets([1, 15, 128, 2, 16, 33, 17, 6, 5, 64, 3, 4, 7])
WIDE = {"embed_dims": (128,), "heads": 8, "expansion": 1, "blocks": 3, "class_blocks": 2}


def learner(**shape):
    return trained(pair_mass="stable", **shape).train()


def compiled(model, bfloat16=False):
    """A copy that trains by compiled blocks, if they can be had here."""
    model = copy.deepcopy(model)
    try:
        model.compiled = CompiledTraining(model, bfloat16)
    except InputError as error:
        pytest.skip(str(error))
    return model


@pytest.fixture(params=[False, True], ids=["float32", "bfloat16"])
def bfloat16(request):
    compiled(learner(), request.param)
    return request.param


def some_rows(jets, model, dtype=torch.float32):
    """Particles, pairs, and lengths of jets."""
    generator = torch.Generator().manual_seed(5)
    real = jets.mask.squeeze(1)
    n_pairs, width = len(real_pairs(real).jet), model.config.embed_dims[-1]
    rows = torch.randn(int(real.sum()), width, generator=generator)
    pairs = torch.randn(n_pairs, model.config.heads, generator=generator)
    return rows.to(dtype), pairs.to(dtype), real.sum(1)


def passed(model, dtype=torch.float32):
    """Class tokens, and gradients of some sum of theirs: of particles, pairs and parameters; float64."""
    model = copy.deepcopy(model).to(dtype)
    rows, pairs, lengths = some_rows(JETS, model, dtype)
    given = rows.requires_grad_(), pairs.requires_grad_()
    if model.compiled is not None:
        tokens = model.norm(model.compiled.tokens(*given, lengths))
    else:
        real = JETS.mask.squeeze(1)
        groups = grouped(real, real_pairs(real), pairs)
        for block in model.blocks:
            rows = block.forward_rows(rows, groups)
        parts = rows_of(groups, rows)
        tokens = torch.cat([model._class_token(group.padded(own), group.real) for group, own in parts])
    weights = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(6))
    (tokens * weights.to(dtype)).sum().backward()
    used = [*model.blocks.parameters(), *model.class_blocks.parameters(), model.class_token]
    return [tokens.detach().double()] + [each.grad.double() for each in (*given, *used)]


def distances(found, exact):
    """Of each array from the exact one, in units of its size."""
    return torch.stack([(a - b).norm() / b.norm() for a, b in zip(found, exact, strict=True)])


@pytest.mark.parametrize("shape", [{}, WIDE])
def test_tokens_and_gradients_in_float32_are_as_near_as_those_of_pytorch(shape):
    model = learner(**shape)
    ours, theirs, exact = passed(compiled(model)), passed(model), passed(model, torch.float64)
    far = distances(ours, exact)
    assert far.max() < 1e-4
    assert far.median() < 2 * distances(theirs, exact).median()


def test_bfloat16_is_no_farther_from_float32_than_pytorch():
    model = learner(**WIDE)
    rounded = compiled(model, bfloat16=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = passed(rounded), passed(model)
    exact = passed(model)
    near, far = distances(ours, exact), distances(theirs, exact)
    assert 0 < near.median() < 1.2 * far.median()
    assert near.max() < 1.5 * far.max()


def test_the_whole_network_learns_as_in_float64():
    model = learner(pair_embed_dims=(16, 32))
    ours = compiled(model)
    assert isinstance(ours.compiled._embed_pairs, CompiledPairEmbedding)
    labels = torch.arange(len(JETS.mask)) % 10
    found = []
    for each, dtype in ((model, torch.float64), (model, torch.float32), (ours, torch.float32)):
        each = copy.deepcopy(each).to(dtype)
        inputs = JETS.features.to(dtype), JETS.vectors.to(dtype), JETS.mask
        torch.nn.functional.cross_entropy(each(*inputs), labels).backward()
        running = [buffer.double() for buffer in each.buffers() if buffer.is_floating_point()]
        found.append([parameter.grad.double() for parameter in each.parameters()] + running)
    # Biases before a normalisation have no gradient but noise.
    least = 1e-6 * max(array.norm() for array in found[0])
    exact, theirs, ours = (
        [a for a, b in zip(each, found[0], strict=True) if b.norm() > least] for each in found
    )
    far = distances(ours, exact)
    assert far.max() < 1e-3
    assert far.median() < 2 * distances(theirs, exact).median()


def test_sharp_attention_keeps_its_gradients():
    model = learner()
    with torch.no_grad():
        for block in model.blocks:
            block.attention.in_proj.weight.mul_(20)
    ours, theirs, exact = passed(compiled(model)), passed(model), passed(model, torch.float64)
    assert distances(ours, exact).max() < 3 * distances(theirs, exact).max()


def test_the_mode_of_the_processor_is_left_as_it_was():
    passed(compiled(learner()))
    assert (torch.tensor([1e-39]) * 2).item() > 0


def test_edited_attention_is_not_passed_over():
    model = compiled(learner())
    model.blocks[0].attention.edit = lambda weights: torch.eye(weights.shape[-1]).expand_as(weights)
    twin = copy.deepcopy(model)
    twin.compiled = None
    assert torch.equal(model(*JETS.inputs), twin(*JETS.inputs))


def test_the_same_threads_give_the_same_bits_and_others_nearly_the_same(bfloat16):
    model = compiled(learner(), bfloat16)
    before, found = torch.get_num_threads(), {}
    try:
        for threads in (1, 3, 20):
            torch.set_num_threads(threads)
            found[threads] = passed(model)
            assert all(map(torch.equal, passed(model), found[threads]))
    finally:
        torch.set_num_threads(before)
    for threads in (3, 20):
        assert distances(found[threads], found[1]).max() < (1e-2 if bfloat16 else 1e-5)


def test_jets_do_not_meet(bfloat16):
    model = compiled(learner(), bfloat16)
    rows, pairs, lengths = some_rows(JETS, model)
    before = model.compiled.tokens(rows, pairs, lengths)
    spoilt = rows.clone()
    spoilt[20] = torch.nan
    spoilt.requires_grad_()
    after = model.compiled.tokens(spoilt, pairs, lengths)
    others = torch.arange(len(lengths)) != 2
    assert after[2].isnan().all()
    assert torch.equal(after[others], before[others])
    after[others].sum().backward()
    ends = lengths.cumsum(0)
    inside = torch.arange(len(rows)) >= ends[1]
    inside &= torch.arange(len(rows)) < ends[2]
    assert spoilt.grad[~inside].isfinite().all()


def test_tokens_of_jets_without_particles_see_themselves():
    model = compiled(learner())
    rows, pairs, lengths = some_rows(JETS, model)
    hollow = torch.cat((torch.zeros(1, dtype=torch.int64), lengths, torch.zeros(2, dtype=torch.int64)))
    tokens = model.compiled.tokens(rows, pairs, hollow)
    assert torch.equal(tokens[1:-2], model.compiled.tokens(rows, pairs, lengths))
    torch.testing.assert_close(tokens[-1], tokens[0])
    assert tokens[0].isfinite().all()


@pytest.mark.parametrize("lengths", [[3, 3], [2, 2, -1], [129]])
def test_lengths_that_are_not_those_of_the_arrays_are_refused(lengths):
    x, pairs = torch.zeros(3, 64), torch.zeros(6, 4)
    with pytest.raises(InputError, match="lengths: ask for"):
        blocks_forward(x, pairs, torch.tensor(lengths), torch.zeros(1, 1), 4, 256, False)
    starts = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()])
    asked = torch.zeros(len(lengths), 4, 64)
    with pytest.raises(ValueError, match="starts"):
        token_attention(x, asked[:, 0], torch.zeros(2, 64), asked, starts)


def test_parameters_that_are_not_those_of_the_blocks_are_refused():
    compiled(learner())
    with pytest.raises(InputError, match="parameters: are 1 a block, not 50"):
        blocks_forward(
            torch.zeros(3, 64), torch.zeros(6, 4), torch.tensor([3]), torch.zeros(1, 1), 4, 256, False
        )


def test_products_are_counted_as_those_of_pytorch(bfloat16):
    model, jets = learner(**WIDE), Jets([20] * 6)
    rows, pairs, lengths = some_rows(jets, model)
    real = jets.mask.squeeze(1)
    ours = compiled(model, bfloat16)
    with FlopCounterMode(display=False) as by_compiled:
        rows_, pairs_ = rows.clone().requires_grad_(), pairs.clone().requires_grad_()
        parameters = ours.compiled.parameters()
        blocks_forward(rows_, pairs_, lengths, parameters, 8, 128, bfloat16)[0].sum().backward()
    with FlopCounterMode(display=False) as by_pytorch:
        rows_, groups = rows.clone().requires_grad_(), grouped(real, real_pairs(real), pairs)
        for block in model.blocks:
            rows_ = block.forward_rows(rows_, groups)
        rows_.sum().backward()
    assert by_compiled.get_total_flops() == by_pytorch.get_total_flops()


def test_products_are_counted_in_the_precision_that_they_have(bfloat16):
    model = compiled(learner(pair_embed_dims=(16, 32)), bfloat16)
    rows, _, lengths = some_rows(JETS, model)
    pairs = torch.randn(len(real_pairs(JETS.mask.squeeze(1)).jet), 4)
    shares = {}
    for part, call in (
        ("tokens", lambda: model.compiled(rows, pairs, lengths)),
        ("all", lambda: model.compiled(rows, pairs, lengths).sum().backward()),
    ):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            shares[part] = work_of(call).flops
    for flops in shares.values():
        # Attention of class tokens is float32 always.
        wanted = flops.get("bfloat16" if bfloat16 else "float32", 0)
        assert wanted > 0.9 * sum(flops.values())


@pytest.mark.parametrize("wanted", [("x", torch.float64), ("pairs", torch.float64), ("lengths", torch.int32)])
def test_other_types_are_refused(wanted):
    model = compiled(learner())
    rows, pairs, lengths = some_rows(JETS, model)
    given = {"x": rows, "pairs": pairs, "lengths": lengths, "parameters": model.compiled.parameters()}
    given[wanted[0]] = given[wanted[0]].to(wanted[1])
    with pytest.raises(InputError, match=f"{wanted[0]}: give .* on the processor, not {str(wanted[1])[6:]}"):
        blocks_forward(**given, heads=4, hidden=256, bfloat16=False)


def test_rows_may_lie_otherwise_in_memory(bfloat16):
    model = compiled(learner(), bfloat16)
    rows, pairs, lengths = some_rows(JETS, model)
    turned = rows.t().contiguous().t()
    assert torch.equal(
        model.compiled.tokens(turned, pairs, lengths), model.compiled.tokens(rows, pairs, lengths)
    )


def test_the_precision_is_that_of_the_training(caplog):
    compiled(learner(), True)
    for precision in ("float32", "bfloat16"):
        with caplog.at_level(logging.INFO, "softjet"):
            compile_for(model := learner(), Training(precision=precision))
        assert model.compiled._bfloat16 == (precision == "bfloat16")
        assert f"blocks compiled for the processor, {precision}" in caplog.text
    compile_for(model, Training(blocks="pytorch"))
    assert model.compiled is None


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("not a program", "cannot be made and loaded"),
        ("#!/bin/sh\nexit 0\n", "cannot be made and loaded"),
        ("#!/bin/sh\nprintf 'error: \\377 no' >&2\nexit 1\n", "cannot compile it"),
    ],
)
def test_a_compiler_that_fails_is_told_in_a_line(tmp_path, monkeypatch, script, problem):
    (tmp_path / "cc").write_text(script)
    (tmp_path / "cc").chmod(0o755)
    compiling.compiled.cache_clear()
    monkeypatch.setenv("CC", f"{tmp_path}/cc")
    with pytest.raises(InputError, match=problem) as error:
        compile_for(learner(), Training(blocks="compiled"))
    assert "\n" not in str(error.value)
    compiling.compiled.cache_clear()


def test_a_compiler_may_have_arguments_and_be_empty(monkeypatch):
    compiled(learner())
    for given in ("cc -m64", ""):
        compiling.compiled.cache_clear()
        monkeypatch.setenv("CC", given)
        compile_for(model := learner(), Training(blocks="compiled"))
        assert model.compiled is not None
    compiling.compiled.cache_clear()


def test_what_they_are_not_made_for_is_refused(monkeypatch, caplog):
    factored = learner()
    decompose(factored, FAMILIES["part"])
    for model, problem in (
        (learner(dropout=0.1), "dropout: is not 0; do without"),
        (learner(max_particles=129), "max_particles: is 129, more than 128; do without"),
        (learner(embed_dims=(16,), heads=2), "not a multiple of 64"),
        (factored, "has factored matrices; do without"),
    ):
        with pytest.raises(InputError, match=problem):
            compile_for(model, Training(blocks="compiled"))
        with caplog.at_level(logging.INFO, "softjet"):
            compile_for(model, Training())
        assert model.compiled is None
        assert f"blocks by PyTorch: compiled blocks: {problem}"[:30] in caplog.text
    compiling.compiled.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(InputError, match="there is no no-such-compiler"):
        compile_for(learner(), Training(blocks="compiled"))
    compile_for(model := learner(), Training(blocks="pytorch"))
    assert model.compiled is None
    compiling.compiled.cache_clear()


def test_steps_of_a_benchmark_are_compiled_as_those_of_a_training():
    compiled(learner())
    training_step(model := learner(), Training(precision="float32"))
    assert model.compiled is not None


def test_a_training_learns_alike_either_way(tmp_path):
    compiled(learner())
    jets = LabelledJets(64)
    shape = {
        "features": "kin",
        "classes": 2,
        "max_particles": 12,
        "embed_dims": (64,),
        "pair_embed_dims": (16,),
    }
    shape |= {"heads": 4, "blocks": 2, "class_blocks": 1}
    losses = {}
    for blocks in ("compiled", "pytorch"):
        run = small_run(steps=30, microbatches=1, precision="float32", blocks=blocks)
        losses[blocks] = train_part(run, jets, jets, tmp_path / blocks, tmp_path / f"state-{blocks}")["loss"]
    assert losses["compiled"].iloc[-5:].mean() < 0.8 * losses["compiled"].iloc[:5].mean()
    difference = (losses["compiled"] - losses["pytorch"]).abs()
    assert 0 < difference.max() < 0.02


def small_run(**settings):
    shape = {"features": "kin", "classes": 2, "max_particles": 12, "pair_embed_dims": (16,)}
    shape |= {"embed_dims": (64,), "heads": 4, "blocks": 2, "class_blocks": 1}
    training = {"steps": 8, "batch_size": 16, "microbatches": 2, "save_every": 1e-6, "blocks": "compiled"}
    return ParTRun(dataset="small", model=shape, training=training | settings)


def trained_weights(folder, run):
    train_part(run, LabelledJets(64), LabelledJets(32), folder, folder / "state")
    return load_file(folder / "model.safetensors")


def test_a_training_that_was_broken_off_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    compiled(learner())
    whole = trained_weights(tmp_path / "whole", small_run())
    usual, calls = torch.nn.utils.clip_grad_norm_, iter(range(100))

    def stop(*given):
        if next(calls) == 5:
            raise KeyboardInterrupt
        return usual(*given)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", stop)
    with pytest.raises(KeyboardInterrupt):
        trained_weights(tmp_path / "broken", small_run())
    broken = trained_weights(tmp_path / "broken", small_run())
    assert all(torch.equal(broken[name], weight) for name, weight in whole.items())


def test_a_deterministic_training_has_the_same_bits_on_any_number_of_cores(tmp_path):
    compiled(learner())
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(trained_weights(tmp_path / f"{threads}", small_run(deterministic=True)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[1][name], weight) for name, weight in found[0].items())
