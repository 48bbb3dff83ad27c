"""The two phases, their budget, and going on after an interruption."""

import copy
from pathlib import Path

import pytest
import torch
from small_network import SELECTION, SETTINGS, batches, loss, network

from softjet.config.lowrank import Selection
from softjet.errors import InputError
from softjet.lowrank import fuse, learn_ranks, parameter_counts
from softjet.lowrank.run import Run
from softjet.lowrank.selection import all_factors, decompose
from softjet.lowrank.soft import threshold_penalty


class InterruptionError(Exception):
    pass


def settings(**changes):
    return SETTINGS.model_copy(update=changes)


def learn(folder, **changes):
    model = network()
    return model, *learn_ranks(model, SELECTION, batches, loss, settings(**changes), folder)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    return learn(tmp_path_factory.mktemp("state"))


def same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_history_shows_both_phases_and_what_was_reached(learned):
    model, history, ranks = learned
    assert history["step"].tolist() == list(range(1, len(history) + 1))
    assert history["phase"].drop_duplicates().tolist() == ["learning", "recovery"]
    assert len(history) == SETTINGS.learn_steps + SETTINGS.recover_steps
    assert (history["phase"] == "recovery").sum() > SETTINGS.recover_steps  # the budget was met early
    recovery = history[history["phase"] == "recovery"]
    assert (recovery["penalty"] == 0).all()
    assert recovery["parameters"].nunique() == 1
    counts = parameter_counts(fuse(copy.deepcopy(model)), SELECTION)
    assert recovery["parameters"].iloc[0] == counts.total
    assert recovery["rank"].iloc[0] == ranks["rank"].sum()


# Trap 5: the ratio is what is left after rounding, and the budget is never missed.
@pytest.mark.parametrize("of", ["linears", "blocks", "total"])
@pytest.mark.parametrize("multiple", [1, 4])
def test_the_achieved_ratio_is_just_below_the_budget(tmp_path, of, multiple):
    dense = parameter_counts(network(), SELECTION)
    model, history, ranks = learn(
        tmp_path, of=of, rank_multiple=multiple, recover_steps=1, threshold_rate=0.2
    )
    kept = getattr(parameter_counts(fuse(model), SELECTION).over(dense), of)
    assert kept == history[f"keep_{of}"].iloc[-1]
    cheapest = 32 * multiple
    assert 0.6 - cheapest / getattr(dense, of) < kept <= 0.6
    assert (ranks[~ranks["dense"]]["rank"] % multiple == 0).all()


# Trap 2: a scheduler put the rate of a frozen threshold back.
def test_recovery_moves_weights_but_neither_thresholds_nor_ranks(tmp_path, learned):
    stopped = stopped_at_recovery(tmp_path)
    model, _, ranks = learned
    pairs = list(zip(all_factors(stopped), all_factors(model), strict=True))
    assert all(torch.equal(a.alpha, b.alpha) and (b.alpha > 0).all() for a, b in pairs)
    assert [b.rank() for _, b in pairs] == [a.rank() for a, _ in pairs] == ranks["rank"].tolist()
    assert not any(torch.equal(a.sigma, b.sigma) for a, b in pairs)


def stopped_at_recovery(folder):
    """The model at the step that fixed its ranks."""

    def stopping(model, batch):
        if all_factors(model)[0].fixed:
            raise InterruptionError
        return loss(model, batch)

    model = network()
    with pytest.raises(InterruptionError):
        learn_ranks(model, SELECTION, batches, stopping, SETTINGS, folder)
    return model


# Trap 6: the "best" state of the learning phase is one that is not compressed yet.
def test_a_lower_loss_before_compression_is_not_what_is_returned(tmp_path):
    teacher = network()

    def distance(model, batch):
        return torch.nn.functional.mse_loss(model(batch[0]), teacher(batch[0]).detach())

    model = network()
    history, _ = learn_ranks(model, SELECTION, batches, distance, SETTINGS, tmp_path)
    small = history[history["phase"] == "recovery"]["parameters"].iloc[0]
    earlier = history.loc[history["task"].idxmin()]
    assert earlier["phase"] == "learning", "the case needs a loss that was lowest before compression"
    assert parameter_counts(model, SELECTION).total == small < history["parameters"].iloc[0]


# Trap 4: alpha climbed past a whole spectrum.
def test_no_matrix_falls_below_the_floor(tmp_path):
    _, _, ranks = learn(tmp_path, keep=0.45, rank_floor=3, threshold_rate=0.5, recover_steps=1)
    assert ranks["rank"].min() >= 3
    assert ranks["learned_rank"].min() >= 3


# Trap 7: both conventions of the threshold are in the table.
def test_thresholds_are_logged_in_three_units(learned):
    ranks = learned[2]
    assert (ranks["threshold"] > 0).all()
    raw = ranks["threshold"] * ranks["scale"]
    assert ranks["threshold_raw"].to_numpy() == pytest.approx(raw.to_numpy())
    largest = ranks["spectrum"].map(lambda s: s[0])
    assert ranks["threshold_of_largest"].to_numpy() == pytest.approx((raw / largest).to_numpy())
    above = [sum(s > t for s in row) for row, t in zip(ranks["spectrum"], raw, strict=True)]
    assert ranks["learned_rank"].tolist() == above


# Trap 8: a threshold on a small matrix counted as much as one on a large matrix.
def test_count_weighting_pulls_large_matrices_harder():
    gradients = {}
    for weighted in (False, True):
        model = network()
        dense = parameter_counts(model, SELECTION)
        decompose(model, SELECTION)
        run = Run(model, SELECTION, settings(count_weighted=weighted), dense, SETTINGS.weight)
        threshold_penalty(run).backward()
        gradients[weighted] = torch.stack([f.alpha.grad for f in all_factors(model)])
    torch.testing.assert_close(gradients[False], torch.full((8,), -0.1))
    sizes = torch.tensor([256.0, 256, 256, 512] * 2)
    torch.testing.assert_close(gradients[True], -0.1 * sizes / sizes.mean())


# Trap 9: drift from orthonormal directions is logged, and mended.
def test_drift_is_logged_at_every_decomposition(learned):
    history = learned[1]
    logged = history.loc[history["drift"].notna(), "step"].tolist()
    learning = (history["phase"] == "learning").sum()
    assert logged == list(range(10, learning + 1, 10))
    assert (history["drift"].dropna() > 0).all()


def test_ranks_are_chosen_on_a_true_decomposition(tmp_path, learned):
    model = stopped_at_recovery(tmp_path)
    assert max(factors.drift() for factors in all_factors(model)) < 1e-5
    for factors, spectrum in zip(all_factors(model), learned[2]["spectrum"], strict=True):
        kept = torch.linalg.svdvals(factors.weight())[: factors.rank()]
        assert kept.tolist() == pytest.approx(spectrum[: factors.rank()], rel=1e-4, abs=1e-5)


def test_moving_size_from_sigma_into_u_changes_no_rank_of_a_whole_run(tmp_path):
    def evade(model, batch):
        if isinstance(model.blocks[0].wide, torch.nn.Linear):
            return loss(model, batch)
        with torch.no_grad():
            for factors in all_factors(model):
                factors.left.mul_(2.0)
                factors.sigma.div_(2.0)
        return loss(model, batch)

    still = settings(
        learning_rate=1e-30, threshold_rate=0.1, recover_steps=0, redecompose_every=7, pressure=1e8
    )
    ranks = []
    for name, task in (("honest", loss), ("evading", evade)):
        model = network()
        ranks.append(
            learn_ranks(model, SELECTION, batches, task, still, tmp_path / name).ranks["rank"].tolist()
        )
    assert ranks[0] == ranks[1]


def test_running_statistics_stay_those_of_the_dense_model(tmp_path):
    model = torch.nn.Sequential()
    model.statistics = torch.nn.BatchNorm1d(6)
    model.statistics.running_mean.fill_(0.3)
    model.network = network()
    inner = SELECTION.model_dump()
    for matrices in inner["matrices"]:
        matrices["path"] = "network." + matrices["path"]
    selection = Selection(**inner | {"blocks": ("network.blocks",)})
    learn_ranks(model, selection, batches, loss, settings(recover_steps=2), tmp_path)
    assert (model.statistics.running_mean == 0.3).all()
    assert model.network.training


def test_pressure_meets_a_budget_that_a_fixed_weight_does_not(tmp_path):
    with pytest.raises(InputError, match="not reached"):
        learn(tmp_path / "fixed", pressure=1.0)
    _, history, _ = learn(tmp_path / "rising")
    weights = history.loc[history["phase"] == "learning", "weight"]
    assert (weights.iloc[: SETTINGS.learn_steps // 2 - 1] == SETTINGS.weight).all()
    assert weights.is_monotonic_increasing
    assert weights.iloc[-1] > SETTINGS.weight


def test_a_budget_out_of_reach_is_an_error_that_says_what_to_change(tmp_path):
    with pytest.raises(InputError, match=r"keep 0.6: not reached: .* after 3 steps; raise learn_steps"):
        learn(tmp_path, learn_steps=3)


def test_a_finished_run_is_not_run_again(tmp_path, learned):
    learn(tmp_path)

    def none(start):
        raise InterruptionError
        yield

    resumed = network(seed=5)
    learn_ranks(resumed, SELECTION, none, loss, SETTINGS, tmp_path)
    assert same_weights(learned[0], resumed)


def test_a_state_of_other_settings_is_refused(tmp_path):
    learn(tmp_path)
    with pytest.raises(InputError, match="belong to another run"):
        learn(tmp_path, keep=0.7)


def test_learning_leaves_the_random_numbers_of_the_caller_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    model = network()
    torch.manual_seed(3)
    learn_ranks(model, SELECTION, batches, loss, SETTINGS, tmp_path)
    assert torch.equal(torch.rand(2), expected)
    assert Path(tmp_path, "ranks.pt").exists()
