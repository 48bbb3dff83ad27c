"""What each method of rank learning does, and that all are compared at equal size and equal training."""

import copy
import re

import pytest
import torch
from method_settings import MASK, METHODS, TOTAL, run, settings_of
from small_network import SELECTION, SETTINGS, batches, loss, network
from torch import nn

from softjet.config.lowrank import LEARNED
from softjet.errors import InputError
from softjet.lowrank import fuse, parameter_counts
from softjet.lowrank.baselines import by_energy, by_share
from softjet.lowrank.budget import choose_ranks
from softjet.lowrank.factors import Factors
from softjet.lowrank.mask import mask_penalty
from softjet.lowrank.phases import begin, fix_ranks
from softjet.lowrank.price import PARAMETERS
from softjet.lowrank.selection import all_factors
from softjet.lowrank.steps import take_step
from softjet.lowrank.threshold import soft_threshold

COMPRESSING = [method for method in METHODS if method != "dense"]
LARGEST = 16 + 32
"""Parameters of one direction of the largest matrix."""


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Every method at its end, by name."""
    return {method: run(method, tmp_path_factory.mktemp(method)) for method in METHODS}


@pytest.mark.parametrize("keep", [0.45, 0.6, 0.8])
def test_all_methods_reach_the_same_size(tmp_path, keep):
    allowed = keep * parameter_counts(network(), SELECTION).total
    for method in COMPRESSING:
        model, history, _ = run(method, tmp_path / method, keep=keep, recover_steps=0)
        counts = parameter_counts(fuse(model), SELECTION)
        assert allowed - LARGEST < counts.total <= allowed, method
        assert counts.total == history["parameters"].iloc[-1]


@pytest.mark.parametrize("method", METHODS)
def test_a_matrix_of_zeros_stands_in_no_ones_way(tmp_path, method):
    model = network()
    weights = [layer.weight for layer in model.modules() if isinstance(layer, nn.Linear)]
    torch.nn.init.zeros_(weights[1])
    keep = 1.0 if method == "dense" else 0.6
    model, history, ranks = run(method, tmp_path, model=model, keep=keep)
    assert history["task"].notna().all()
    assert history["parameters"].iloc[-1] <= keep * parameter_counts(network(), SELECTION).total
    assert ranks["scale"].gt(0).all()
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.mark.parametrize("of", ["linears", "total", "time"])
@pytest.mark.parametrize("method", COMPRESSING)
def test_a_budget_below_the_rank_floors_is_one_line_before_anything_is_computed(tmp_path, method, of):
    def task(model, batch):
        raise AssertionError("a batch was looked at")

    price = PARAMETERS if of == "time" else None
    with pytest.raises(InputError, match=r"keep 0.01: is too little, .* raise keep or lower") as caught:
        run(method, tmp_path / "state", task=task, price=price, of=of, keep=0.01, rank_floor=4)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.pt"))
    least = float(re.search(rf"need ([0-9.]+) of {of}", str(caught.value))[1])
    assert 0.01 < least < 1
    begin(network(), SELECTION, settings_of(method, of=of, keep=least, rank_floor=4), price)
    with pytest.raises(InputError, match="too little"):
        begin(network(), SELECTION, settings_of(method, of=of, keep=least - 0.001, rank_floor=4), price)


@pytest.mark.parametrize("method", ["soft-threshold", "whitened-soft-threshold"])
def test_thresholds_are_as_sharp_as_the_settings_say(method):
    current = begin(network(), SELECTION, settings_of(method, sharpness=1.0))
    for factors in current.factors:
        expected = soft_threshold(factors.spectrum(), factors.alpha, 1.0)
        torch.testing.assert_close(factors.passed(), expected)
        assert expected.max() < 0.99 * factors.spectrum().max()


def test_all_methods_take_the_same_steps_with_the_same_batches(tmp_path):
    seen = {method: [] for method in METHODS}
    for method in METHODS:

        def noted(model, batch, seen=seen[method]):
            if model.training:
                seen.append(batch[0][0, 0].item())
            return loss(model, batch)

        _, history, _ = run(method, tmp_path / method, task=noted, learn_steps=20, recover_steps=3, keep=0.9)
        assert history["step"].tolist() == list(range(1, 24)), method
    assert len(set(map(tuple, seen.values()))) == 1
    assert len(seen["dense"]) == 23


def test_only_learned_ranks_have_a_learning_phase(ended):
    phases = {method: history["phase"].unique().tolist() for method, (_, history, _) in ended.items()}
    assert phases == {
        method: ["learning", "recovery"] if method in LEARNED else ["recovery"] for method in METHODS
    }


def test_tables_of_all_methods_have_the_same_columns_and_rows(ended):
    _, history, ranks = ended["soft-threshold"]
    for _, its_history, its_ranks in ended.values():
        assert list(its_history) == list(history)
        assert list(its_ranks) == list(ranks)
        assert its_ranks[["module", "piece", "m", "n"]].equals(ranks[["module", "piece", "m", "n"]])


def test_only_soft_thresholds_have_a_threshold(ended):
    told = {method: ranks["threshold"].notna().any() for method, (_, _, ranks) in ended.items()}
    assert told == {method: method.endswith("soft-threshold") for method in METHODS}


def test_uniform_ranks_are_the_same_share_of_every_matrix(ended):
    for method in ("svd", "whitened-svd"):
        ranks = ended[method][2]
        shares = ranks["parameters"] / (ranks["m"] * ranks["n"])
        one_direction = (ranks["m"] + ranks["n"]) / (ranks["m"] * ranks["n"])
        assert (shares - shares.min() <= 1.5 * one_direction).all(), method
        assert not ranks["dense"].any()


def test_energy_ranks_hold_the_same_share_of_energy():
    generator = torch.Generator().manual_seed(2)
    factors = [Factors(torch.randn(12, 20, generator=generator) ** power) for power in (1, 3, 5)]
    for f in factors:
        with torch.no_grad():
            f.sigma.copy_(f.sigma.flip(0))  # in any order
    margins = torch.stack([by_energy(f) for f in factors])
    for share in (0.5, 0.8, 0.95):
        for f, rank in zip(factors, (margins > -share).sum(1).tolist(), strict=True):
            energy = f.sigma.detach().sort(descending=True).values.square().cumsum(0) / f.sigma.square().sum()
            assert energy[rank - 1] >= share
            assert rank == 1 or energy[rank - 2] < share
    assert by_share(factors[0]).tolist() == pytest.approx([-r * 32 / 240 for r in range(1, 13)])


def test_a_matrix_of_zeros_comes_last_by_energy():
    generator = torch.Generator().manual_seed(2)
    factors = [Factors(torch.zeros(12, 12)), Factors(torch.randn(12, 12, generator=generator))]
    assert by_energy(factors[0]).tolist() == [-1.0] * 12
    assert choose_ranks(factors, 24 + 144, 1, 1, by_energy) == [1, 12]


def test_plain_truncation_starts_from_the_largest_directions(tmp_path):
    dense = network()
    start = copy.deepcopy(dense)
    model, _, ranks = run("svd", tmp_path, start, learn_steps=1, recover_steps=0, recover_rate=1e-30)
    weights = dense.blocks[0].packed.weight.detach().chunk(3)
    for factors, weight, rank in zip(all_factors(model), weights, ranks["rank"], strict=False):
        u, s, v = torch.linalg.svd(weight)
        torch.testing.assert_close(factors.weight(), u[:, :rank] * s[:rank] @ v[:rank], rtol=1e-4, atol=1e-5)


def test_the_dense_model_is_only_trained(tmp_path, ended):
    model, history, ranks = ended["dense"]
    by_hand = network()
    optimiser = torch.optim.AdamW(by_hand.parameters(), weight_decay=0.0)
    torch.manual_seed(SETTINGS.seed)
    for step, batch in zip(range(TOTAL), batches(0), strict=False):
        rise = min(10 * (step + 1) / TOTAL, 1 - step / TOTAL)
        optimiser.param_groups[0]["lr"] = SETTINGS.recover_rate * rise
        optimiser.zero_grad()
        loss(by_hand, batch).backward()
        nn.utils.clip_grad_norm_(by_hand.parameters(), 1.0)
        optimiser.step()
    assert isinstance(model.blocks[0].wide, nn.Linear)
    for one, other in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert (history[["keep_linears", "keep_blocks", "keep_total"]] == 1).all(axis=None)
    assert ranks["dense"].all()
    assert (ranks["parameters"] == ranks["m"] * ranks["n"]).all()
    spectrum = torch.linalg.svdvals(network().blocks[1].wide.weight.detach()).tolist()
    assert ranks["spectrum"].iloc[-1] == pytest.approx(spectrum, rel=1e-4)


# Trap 2: a scheduler put the rate of a frozen threshold back.
@pytest.mark.parametrize("method", COMPRESSING)
def test_no_gate_is_in_the_optimiser_of_recovery(method):
    current = begin(network(), SELECTION, settings_of(method))
    assert len(current.optimiser.param_groups) == 2
    fix_ranks(current)
    (weights,) = (group["params"] for group in current.optimiser.param_groups)
    gates = [p for factors in all_factors(current.model) for p in factors.gate.parameters()]
    assert gates
    assert not any(gate is weight or gate.requires_grad for gate in gates for weight in weights)
    assert current.phase == "recovery"


# Trap 3: rounding a rank up re-admitted directions at a fraction of their value.
@pytest.mark.parametrize("method", COMPRESSING)
def test_recovery_starts_with_whole_directions(tmp_path, method):
    def stopping(model, batch):
        factors = all_factors(model)
        if model.training and factors[0].fixed:
            raise StopIteration
        return loss(model, batch)

    model = network()
    with pytest.raises(StopIteration):
        run(method, tmp_path, model, task=stopping, rank_multiple=4)
    for factors in all_factors(model):
        assert torch.equal(factors.passed(), factors.spectrum())
        assert factors.rank() == len(factors.sigma)


def test_the_mask_is_pressed_by_a_weight_that_grows_every_four_steps(ended):
    history = ended["learned-mask"][1]
    learning = history[history["phase"] == "learning"]
    expected = [MASK["mask_weight"] * SETTINGS.mask_growth ** (step // 4) for step in learning["step"]]
    assert len(learning) > 8
    assert learning["weight"].tolist() == pytest.approx(expected)


def test_the_penalty_of_the_mask_is_the_weighted_norm_of_its_scores():
    current = begin(network(), SELECTION, settings_of("learned-mask"))
    directions = sum(len(factors.sigma) for factors in current.factors)
    assert mask_penalty(current).item() == pytest.approx(MASK["mask_weight"] * directions)


def test_ranks_of_the_mask_are_those_of_its_scores(tmp_path):
    """Directions are not decomposed afresh while they have scores."""
    current = begin(network(), SELECTION, settings_of("learned-mask", redecompose_every=1))
    with torch.no_grad():
        for factors in current.factors:
            factors.gate.scores.copy_(torch.linspace(-1, 1, 16))
            factors.left.add_(0.02)
    before = [factors.left.detach().clone() for factors in current.factors]
    row = take_step(current, next(batches(0)), lambda model, batch: loss(model, batch) * 0)
    assert row["drift"] > 0
    for factors, left in zip(current.factors, before, strict=True):
        torch.testing.assert_close(factors.left, left)
        assert factors.order()[:8].tolist() == list(range(15, 7, -1))
