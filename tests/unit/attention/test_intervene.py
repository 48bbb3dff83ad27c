import numpy as np
import pandas as pd
import pytest
import torch

from softjet.attention import interventions
from softjet.attention.effects import effects, outcome_metrics
from softjet.attention.intervene import (
    TOLERANCE,
    Cut,
    argmax_edges,
    editing,
    find_donors,
    forward,
    rerun,
    same_mass,
    shuffle,
    silence,
    silence_random,
    subjet_edges,
)
from softjet.attention.intervention_sample import sample_of, sample_without_donors
from softjet.attention.interventions import Condition, Outcome, Outcomes, cut_everywhere, intervene
from softjet.attention.recording import record
from softjet.attention.statistics import ALL
from softjet.config.interventions import Interventions
from softjet.jets.schema import CLASSES

LAYERS = 3
SETTINGS = Interventions(jets=12, donors=30, batch_size=5, bootstrap=100)


@pytest.fixture
def inputs(jets):
    return jets[0]


@pytest.fixture
def first(model, inputs):
    return forward(model, *inputs)


def generator():
    return torch.Generator().manual_seed(3)


def random_weights(*shape, sharp=3.0):
    return (sharp * torch.randn(*shape, generator=torch.Generator().manual_seed(0))).softmax(-1)


def test_forward_gives_the_models_logits_and_its_recorded_attention(model, inputs, first):
    with torch.inference_mode():
        assert torch.allclose(first.logits, model(*inputs), atol=1e-6)
    real = (first.real[:, :, None] & first.real[:, None])[:, None]
    for seen, recorded in zip(first.weights, record(model, *inputs).weights, strict=True):
        assert torch.allclose(seen.where(real, 0), recorded, atol=1e-6)


@pytest.mark.parametrize("layers", [[0], [2], [0, 2], range(LAYERS), []])
def test_a_rerun_that_changes_nothing_gives_the_same_logits(model, first, layers):
    again = rerun(model, first, dict.fromkeys(layers, lambda weights: weights))
    assert torch.allclose(again, first.logits, atol=1e-6)


def test_a_rerun_equals_a_whole_pass_with_the_edit(model, inputs, first):
    cut = Cut(argmax_edges, first.real)
    with editing(model, {1: cut}), torch.inference_mode():
        whole = model(*inputs)
    assert torch.allclose(rerun(model, first, {1: cut}), whole, atol=1e-6)
    assert (whole - first.logits).abs().max() > 1e-4


def test_edits_are_taken_back_after_an_error(model, first):
    def fail(weights):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        rerun(model, first, {1: fail})
    assert all(block.attention.edit is None for block in model.blocks)


def test_an_edited_network_fails_the_proof_of_its_record(model, inputs, first):
    with editing(model, {1: Cut(argmax_edges, first.real)}), pytest.raises(ArithmeticError):
        record(model, *inputs).check(1e-4)


def test_cutting_an_edge_is_a_logit_of_minus_infinity():
    logits = 3 * torch.randn(2, 2, 6, 6, generator=generator())
    cut = Cut(argmax_edges, torch.ones(2, 6, dtype=torch.bool))
    without = logits.masked_fill(argmax_edges(logits), -torch.inf).softmax(-1)
    assert torch.allclose(cut(logits.softmax(-1)), without, atol=1e-6)
    taken = logits.softmax(-1).amax(-1).mean((1, 2))
    assert torch.allclose(cut.masses[0], taken)


def test_a_query_that_would_lose_all_stays_and_counts_no_mass():
    weights = random_weights(1, 1, 4, 4)
    cut = Cut(lambda w: torch.ones_like(w, dtype=torch.bool), torch.ones(1, 4, dtype=torch.bool))
    assert torch.allclose(cut(weights), weights)
    assert cut.masses[0].item() == 0


def test_padding_takes_no_part(model, jets_of):
    lengths = [5, 9, 12, 1]
    logits = []
    for padding in (0.0, 7.0):
        inputs, _ = jets_of(lengths, 12, padding=padding)
        first = forward(model, *inputs)
        cut = Cut(argmax_edges, first.real, generator())
        logits.append(rerun(model, first, {0: cut, 2: cut}))
        logits.append(rerun(model, first, {1: shuffle(first.real, generator())}))
    assert torch.equal(logits[0], logits[2])
    assert torch.equal(logits[1], logits[3])


@pytest.mark.parametrize("sharp", [0.3, 2.0, 8.0])
@pytest.mark.parametrize("between", [True, False])
def test_random_edges_carry_the_mass_of_those_they_stand_for(sharp, between):
    weights = random_weights(3, 2, 9, 9, sharp=sharp)
    real = torch.ones(3, 9, dtype=torch.bool)
    subjet = torch.randint(0, 3, (3, 9), generator=generator())
    for edges in (argmax_edges, subjet_edges(subjet, between)):
        cut, control = Cut(edges, real), Cut(edges, real, generator())
        cut(weights)
        control(weights)
        assert torch.allclose(cut.masses[0], control.masses[0], atol=1e-5)
        assert control.mismatch < TOLERANCE / 10


def test_random_edges_are_others_as_far_as_these_carry_enough():
    weights = random_weights(4, 2, 9, 9, sharp=2.0)
    edges = argmax_edges(weights)
    mass = weights.amax(-1)
    lost = same_mass(weights, mass, edges, generator())
    assert (lost <= weights).all()
    enough = mass <= 0.5
    assert enough.any()
    assert not enough.all()
    touched = lost.where(edges, 0).sum(-1)
    assert touched[enough].abs().max() < 1e-5
    assert torch.allclose(touched[~enough], 2 * mass[~enough] - 1, atol=1e-5)


def test_random_edges_are_spread_over_all_others():
    weights = torch.full((2000, 1, 1, 5), 0.2)
    edges = torch.zeros_like(weights, dtype=torch.bool)
    edges[..., 0] = True
    taken = same_mass(weights, torch.full((2000, 1, 1), 0.2), edges, generator()).mean((0, 1, 2))
    assert torch.allclose(taken, torch.tensor([0, 0.05, 0.05, 0.05, 0.05]), atol=0.006)


def test_a_control_of_another_mass_stops_the_run(model, first, monkeypatch):
    monkeypatch.setattr("softjet.attention.intervene.same_mass", lambda w, *_: w / 2)
    cut = Cut(argmax_edges, first.real, generator())
    with pytest.raises(ArithmeticError, match="random edges carry"):
        interventions._cut(model, first, cut, [0])


def test_edges_between_and_within_subjets_are_all_edges():
    subjet = torch.tensor([[0, 0, 1]])
    weights = random_weights(1, 2, 3, 3)
    between, within = (subjet_edges(subjet, which)(weights) for which in (True, False))
    assert (between ^ within).all()
    assert between[0, 0].tolist() == [[False, False, True], [False, False, True], [True, True, False]]


def test_a_silent_head_gives_zero_and_leaves_the_others():
    weights = random_weights(2, 3, 4, 4)
    edited = silence(1)(weights)
    assert (edited[:, 1] == 0).all()
    assert torch.equal(edited[:, [0, 2]], weights[:, [0, 2]])


def test_its_control_takes_the_mass_of_one_head_from_each_query():
    weights = random_weights(2, 3, 6, 6)
    alone = weights[:, :1]
    assert torch.equal(silence_random(generator())(alone), silence(0)(alone))
    edited = silence_random(generator())(weights)
    assert torch.allclose(edited.sum((1, 3)), torch.full((2, 6), 2.0), atol=1e-5)
    assert (edited >= -1e-6).all()
    # no head is spared
    assert (edited.sum((2, 3)) < 6 - 1e-3).all()


def test_shuffled_weights_stay_with_their_query_and_off_the_padding():
    real = torch.tensor([[True] * 5 + [False] * 2])
    weights = random_weights(1, 2, 7, 7).where(real[:, None, None], 0)
    mixed = shuffle(real, generator())(weights)
    assert torch.equal(mixed.sort(-1).values, weights.sort(-1).values)
    assert (mixed[..., 5:] == 0).all()
    assert not torch.equal(mixed, weights)


def test_donors_have_equally_many_particles_and_the_class_asked_for():
    n, label = np.array([5, 5, 5, 7, 7, 5]), np.array([0, 0, 1, 2, 3, 1])
    same, other = (find_donors(n, label, 5, which, seed=1) for which in (True, False))
    assert same.tolist() == [1, 0, 5, -1, -1]
    assert set(other[:2]) <= {2, 5}
    assert other[2] in (0, 1)
    assert other[3:].tolist() == [4, 3]


@pytest.fixture
def outcomes(model, jet_table):
    return intervene(model, sample_of(jet_table, model.config, SETTINGS), SETTINGS)


def test_every_layer_and_head_is_tried(outcomes):
    layers = {(name, layer, ALL) for name in ("argmax", "between", "within", "patch_same", "patch_other")
              for layer in (ALL, *range(LAYERS))}  # fmt: skip
    heads = {("head", layer, head) for layer in range(LAYERS) for head in range(2)}
    assert {tuple(condition) for condition in outcomes.of} == layers | heads


def test_outcomes_do_not_depend_on_the_batch_where_nothing_is_random(model, jet_table, outcomes):
    other = SETTINGS.model_copy(update={"batch_size": 12})
    again = intervene(model, sample_of(jet_table, model.config, other), other)
    for name in ("argmax", "between", "within", "patch_other"):
        for layer in (ALL, 1):
            condition = Condition(name, layer)
            np.testing.assert_allclose(
                again.of[condition].after, outcomes.of[condition].after, rtol=0, atol=2e-5
            )
    assert np.allclose(again.before, outcomes.before, atol=1e-5)


def test_jets_without_a_donor_have_no_answer(model, jet_table, outcomes):
    donors = sample_of(jet_table, model.config, SETTINGS).donors
    for name in ("patch_same", "patch_other"):
        absent = np.isnan(outcomes.of[Condition(name, 0)].after).all(1)
        assert np.array_equal(absent, donors[name] < 0)


def test_a_patch_from_a_twin_changes_nothing(model, jet_table):
    sample = sample_of(jet_table, model.config, SETTINGS)
    itself = dict.fromkeys(sample.donors, np.arange(SETTINGS.jets))
    found = intervene(model, sample._replace(donors=itself), SETTINGS)
    assert np.allclose(found.of[Condition("patch_same", ALL)].after, found.before, atol=1e-5)


def test_margin_is_over_the_largest_other_class():
    logits = np.array([[3.0, 1.0, 2.5], [0.0, -1.0, 4.0]], np.float32)
    assert outcome_metrics(logits, np.array([0, 1])).tolist() == [[3, 0.5, 1], [-1, -5, 0]]


def planted(jets=40, shift=-1.0, control=-0.2):
    """Two classes; an intervention that moves the true logit by `shift` and its control by `control`."""
    generator = np.random.default_rng(4)
    label = np.arange(jets) % 2
    before = generator.normal(size=(jets, 2)).astype(np.float32)
    moved = []
    for mean in (shift, control):
        logits = before.copy()
        logits[np.arange(jets), label] += generator.normal(mean, 0.1, jets)
        moved.append(logits)
    outcome = Outcome(moved[0], moved[1], np.full(jets, 0.3, np.float32))
    return Outcomes(label, before, {Condition("argmax", 0): outcome, Condition("head", 0, 1): outcome})


def test_effects_find_what_was_planted():
    table = effects(planted(), ("a", "b"), bootstrap=300, seed=1)
    row = table[(table.metric == "true_logit") & (table.label == ALL)].iloc[0]
    for arm, truth in (("change", -1.0), ("control", -0.2), ("difference", -0.8)):
        assert row[f"{arm}_low"] < row[arm] < row[f"{arm}_high"]
        assert row[arm] == pytest.approx(truth, abs=0.06)
        assert row[f"{arm}_high"] - row[f"{arm}_low"] < 0.12
    assert row.p < 1e-6
    assert row.q >= row.p
    assert row.mass == pytest.approx(0.3)
    assert row.n_jets == 40


def test_effects_of_nothing_are_not_significant():
    table = effects(planted(shift=-0.2), ("a", "b"), bootstrap=300, seed=1)
    assert (table[table.metric == "true_logit"].q > 0.05).all()


def test_accuracy_is_that_of_the_jets():
    found = planted()
    table = effects(found, ("a", "b"), bootstrap=100, seed=1)
    row = table[(table.metric == "accuracy") & (table.label == 1)].iloc[0]
    of_class = found.label == 1
    outcome = found.of[Condition("argmax", 0)]
    right = [(logits.argmax(1) == found.label)[of_class].mean() for logits in (found.before, outcome.after)]
    assert row.before == pytest.approx(right[0])
    assert row.change == pytest.approx(right[1] - right[0])


def test_accuracy_changes_by_one_at_most():
    """All jets but a few are told right before and wrong after: percentiles are stretched beyond -1."""
    found = planted(jets=10, shift=-9.0)
    found.before[np.arange(10), found.label] += 5
    found.before[0] = [-5, 5]
    table = effects(found, ("a", "b"), bootstrap=100, seed=1)
    rows = table[(table.metric == "accuracy") & (table.intervention == "argmax")].set_index("label")
    assert -1 < rows.change[ALL] < rows.change_high[ALL]
    assert rows.change_low[ALL] == -1
    assert table[table.metric == "true_logit"].change_low.min() < -1


def test_a_class_of_few_answered_jets_has_no_interval():
    """Of one class five jets have an answer, of the other four."""
    found = planted()
    outcome = found.of[Condition("argmax", 0)]
    outcome.after[[*range(10, 40, 2), *range(9, 40, 2)]] = np.nan
    table = effects(found, ("a", "b"), bootstrap=100, seed=1)
    rows = table[(table.intervention == "argmax") & (table.metric == "true_logit")].set_index("label")
    assert rows.n_jets.to_dict() == {ALL: 9, 0: 5, 1: 4}
    ends = [f"{arm}_{end}" for arm in ("change", "control", "difference") for end in ("low", "high")]
    assert rows.loc[[ALL, 0], [*ends, "p"]].notna().all(axis=None)
    assert rows.loc[1, [*ends, "p", "q"]].isna().all()
    assert rows.change[1] == pytest.approx(-1, abs=0.2)


def test_rejections_are_quoted_from_fifty_survivors_on():
    few = effects(planted(jets=40), ("QCD", "Hbb"), bootstrap=100, seed=1)
    row = few[few.metric == "rejection_50"].iloc[0]
    assert "not measured" in row.note
    assert np.isnan(row.change)
    many = effects(planted(jets=1200), ("QCD", "Hbb"), bootstrap=100, seed=1)
    row = many[many.metric == "rejection_50"].iloc[0]
    assert row.change_low < row.change < row.change_high < 0
    assert row.before == pytest.approx(2, abs=0.3)


def test_rejections_with_few_signal_jets_below_the_cut_are_not_quoted():
    table = effects(planted(jets=1200), ("QCD", "Tbl"), bootstrap=100, seed=1)
    row = table[table.metric == "rejection_99.5"].iloc[0]
    assert row.note == "not measured (3 of 600 signal jets below the cut; needs 2000 signal jets)"
    assert np.isnan(row.change)


def test_rejections_of_many_jets_stand_where_there_are_some():
    few, many = planted(jets=40), planted(jets=1200)
    del many.of[Condition("head", 0, 1)]
    table = effects(few, ("QCD", "Hbb"), bootstrap=100, seed=1, many=many)
    rows = table[table.metric == "rejection_50"].set_index("intervention")
    expected = effects(many, ("QCD", "Hbb"), bootstrap=100, seed=1)
    expected = expected[expected.metric == "rejection_50"].iloc[0]
    assert rows.n_jets.to_dict() == {"argmax": 600, "head": 20}
    assert rows.change["argmax"] == expected.change
    assert (table[table.metric != "rejection_50"].n_jets <= 40).all()


def test_cuts_of_many_jets_are_those_of_the_whole_table(model, jet_table, outcomes):
    sample = sample_without_donors(jet_table, model.config, SETTINGS)
    wide = cut_everywhere(model, sample, SETTINGS)
    assert list(wide.of) == [Condition("argmax", ALL), Condition("between", ALL)]
    jets = len(outcomes.label)
    assert jets < len(wide.label) == len(jet_table)
    for condition, outcome in wide.of.items():
        np.testing.assert_allclose(outcome.after[:jets], outcomes.of[condition].after, rtol=0, atol=2e-5)
        assert np.abs(outcome.control - outcome.after).max() > 1e-3
        np.testing.assert_allclose(outcome.mass[:jets], outcomes.of[condition].mass, atol=1e-5)


def test_missing_answers_leave_their_jets_out():
    found = planted()
    outcome = found.of[Condition("argmax", 0)]
    outcome.after[:20] = np.nan
    table = effects(found, CLASSES[:2], bootstrap=100, seed=1)
    assert set(table[table.metric == "true_logit"].n_jets) == {20, 10}
    assert np.isfinite(table[table.metric == "true_logit"].change_low).all()


def test_intervals_and_p_of_few_jets_a_class_hold_what_they_say():
    label, rows = np.repeat(np.arange(10), 6), []
    for seed in range(6):
        random = np.random.default_rng(seed)
        before = random.normal(0, 1, (60, 10)).astype(np.float32)
        after, control = random.normal(0, 1, (2, 10, 60, 10)).astype(np.float32)
        of = {
            Condition("argmax", head): Outcome(before + after[head], before + control[head], np.ones(60))
            for head in range(10)
        }
        table = effects(Outcomes(label, before, of), [f"c{i}" for i in range(10)], 200, seed)
        rows.append(table[(table.metric == "true_logit") & (table.label != ALL)])
    rows = pd.concat(rows)
    assert len(rows) == 600
    assert 0.02 < ((rows.difference_low > 0) | (rows.difference_high < 0)).mean() < 0.09
    assert 0.02 < (rows.p < 0.05).mean() < 0.08
