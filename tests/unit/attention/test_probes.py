import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from softjet.attention.correlations import corrected, correlation_table, rank_correlation
from softjet.attention.observables import OBSERVABLES, observables, simple_inputs
from softjet.attention.probes import ALL_JETS, WITHIN, probe_table, r_squared
from softjet.attention.reading import JetReader
from softjet.attention.states import Held, Readings, hold, read
from softjet.attention.summaries import SUMMARIES, summarise
from softjet.config.observables import Observables
from softjet.errors import InputError

SETTINGS = Observables(batch_size=8, residual=1e-3)


@pytest.fixture
def path(jet_table, tmp_path):
    taus = {"jet_tau1": 0.4, "jet_tau2": 0.3, "jet_tau3": 0.15, "jet_sdmass": 0.5}
    for name, value in taus.items():
        values = np.full(len(jet_table), value, np.float32)
        values[0] = 0
        jet_table = jet_table.set_column(jet_table.schema.get_field_index(name), name, pa.array(values))
    pq.write_table(jet_table, tmp_path / "jets.parquet")
    return tmp_path / "jets.parquet"


def reader(path, model, batch_size=30):
    return JetReader([path], 30, 1, model.config, batch_size)


@pytest.fixture
def batch(path, model):
    return next(iter(reader(path, model)))


def test_observables_are_ratios_and_a_logarithm_and_absent_where_undefined(path):
    found = dict(zip(OBSERVABLES, observables(pq.read_table(path)).T, strict=True))
    assert np.isnan([found["tau21"][0], found["tau32"][0]]).all()
    assert np.allclose(found["tau21"][1:], 0.75)
    assert np.allclose(found["tau32"][1:], 0.5)
    # Half a GeV counts as one.
    assert np.array_equal(found["ln_sdmass"], np.zeros(30))
    assert np.isfinite(found["d2"]).all()
    assert np.ptp(found["ptd"]) > 0


def test_simple_inputs_are_means_sums_number_and_momentum(batch):
    found = simple_inputs(batch)
    one, n = 1, int(batch.n[1])
    own = batch.features[one, :, :n].numpy().astype(np.float64)
    assert np.allclose(found[one], [*own.mean(1), *own.sum(1), n, batch.table["jet_pt"][one].as_py()])


def test_states_are_means_over_particles_by_depth_and_last_the_class_token(model, batch):
    found = hold(model, batch, SETTINGS).states
    one, n = 0, int(batch.n[0])
    alone = [part[one : one + 1, :, :n] for part in (batch.features, batch.vectors, batch.mask)]
    with torch.inference_mode():
        x, bias = model.embed(alone[0], alone[2][:, 0]), model.pair_bias(*alone[1:])
        expected = [x.mean(1)]
        for block in model.blocks:
            x = block(x, alone[2][:, 0], bias)
            expected.append(x.mean(1))
        expected.append(model.encode(*alone))
    assert found.shape == (len(batch), len(model.blocks) + 2, 16)
    assert np.allclose(found[one], torch.cat(expected).numpy(), atol=1e-5)


def test_the_model_is_left_as_it_was(model, batch):
    model.train()
    hold(model, batch, SETTINGS)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_padding_enters_no_state_no_summary_and_no_input(model, batch):
    filled = replace(
        batch,
        features=batch.features.masked_fill(~batch.mask, 3.0),
        vectors=batch.vectors.masked_fill(~batch.mask, 7.0),
    )
    assert not torch.equal(filled.features, batch.features)
    before, after = (hold(model, jets, SETTINGS) for jets in (batch, filled))
    assert np.array_equal(before.states, after.states)
    assert np.array_equal(before.summaries, after.summaries)
    assert np.array_equal(simple_inputs(batch), simple_inputs(filled))


def test_batches_do_not_matter_and_jets_keep_their_own_numbers(model, path):
    small, large = (read({"trained": model}, reader(path, model, size), SETTINGS) for size in (4, 30))
    order = [np.argsort(part.key) for part in (small, large)]
    for name in ("observables", "inputs", "label"):
        a, b = (getattr(part, name)[rows] for part, rows in zip((small, large), order, strict=True))
        assert np.allclose(a, b, equal_nan=True)
    a, b = (part.networks["trained"].states[rows] for part, rows in zip((small, large), order, strict=True))
    assert np.allclose(a, b, atol=1e-4)


def test_the_largest_residual_is_that_of_all_networks(model, path):
    found = read({"one": model, "other": model}, reader(path, model), SETTINGS)
    assert 0 <= found.residual < 1e-5
    found.networks["other"].residual[3] = 0.25
    assert found.residual == 0.25


def test_a_residual_above_the_bound_stops(model, batch):
    with pytest.raises(ArithmeticError, match="blocks"):
        hold(model, batch, SETTINGS.model_copy(update={"residual": -1.0}))


def test_summaries_of_even_and_of_one_hot_attention():
    real = torch.tensor([[True, True, True, True, False]])
    subjet = torch.tensor([[0, 0, 0, 1, -1]])
    place = torch.tensor([[0.0, 0.3, 0.6, 0.9, 50.0]])
    distance = (place[:, :, None] - place[:, None]).abs()
    even, itself = torch.zeros(2, 1, 2, 5, 5)
    even[..., :4, :4] = 0.25
    itself[..., :4, :4] = torch.eye(4)
    of_even, of_itself = (
        dict(zip(SUMMARIES, summarise(w, real, subjet, distance, 0.8)[0].tolist(), strict=True))
        for w in (even, itself)
    )
    expected = {"effective_keys": 4, "entropy": 1, "binary": 0, "within_subjet": (3 * 0.75 + 0.25) / 4}
    # Ties fall on the first key, so one query in four is on itself; distances are 0, .3, .6 and .9.
    expected |= {"self": 0.25, "distance": (2 * (0.3 + 0.6 + 0.9) + 2 * (0.3 + 0.3 + 0.6)) / 16}
    assert of_even == pytest.approx(expected)
    assert of_itself == pytest.approx(
        {"effective_keys": 1, "entropy": 0, "binary": 1, "self": 1, "within_subjet": 1, "distance": 0}
    )


def test_r_squared_is_that_of_repeated_jets():
    generator = np.random.default_rng(0)
    truth, guess = generator.normal(size=(2, 50, 3))
    guess = truth + 0.3 * guess
    counts = generator.poisson(1, (4, 50)).astype(float)
    found = r_squared(truth - guess, truth, np.zeros(50, int), counts)
    for row, drawn in zip(found, counts, strict=True):
        rows = np.repeat(np.arange(50), drawn.astype(int))
        assert np.allclose(row, r2_score(truth[rows], guess[rows], multioutput="raw_values"))


def readings(jets, seed, known="trained"):
    """Jets of four classes whose observables stand, mixed, in the states of the network `known`.

    A network that does not hold the observables knows the class.
    """
    generator = np.random.default_rng(seed)
    label = np.arange(jets) % 4
    y = generator.normal(size=(jets, len(OBSERVABLES))) + 3.0 * label[:, None]
    mixing = np.random.default_rng(7).normal(size=(len(OBSERVABLES), 16))
    networks = {}
    for name in ("trained", "untrained"):
        one_hot = np.eye(16)[label] + 0.01 * generator.normal(size=(jets, 16))
        states = np.repeat((y @ mixing if name == known else one_hot)[:, None], 3, axis=1)
        noise = generator.normal(size=(jets, len(SUMMARIES), 1))
        parts = (states, noise, np.zeros(jets))
        networks[name] = Held(*(part.astype(np.float32) for part in parts))
    key = generator.integers(2**63, size=jets, dtype=np.uint64)
    return Readings(y, generator.normal(size=(jets, 4)), label, key, networks)


@pytest.fixture(scope="module")
def probes():
    return probe_table(readings(300, 0), readings(300, 1), 100, 1)


def test_a_probe_finds_what_a_state_holds_and_nothing_in_noise(probes):
    trained = probes[probes.network == "trained"]
    assert (trained.r2 > 0.99).all()
    assert (probes[probes.network == "inputs"].r2.abs() < 0.1).all()
    assert set(trained.state) == {"embedding", "layer", "class token"}
    assert set(trained.layer) == {-1, 0}
    assert (probes.low <= probes.r2).all()
    assert (probes.r2 <= probes.high).all()


def test_a_state_that_knows_the_class_alone_is_told_from_one_that_knows_the_observable(probes):
    class_only = probes[probes.network == "untrained"]
    known = probes[probes.network == "class"]
    assert (class_only[class_only["scope"] == ALL_JETS].r2 > 0.8).all()
    assert np.allclose(known.r2, class_only[class_only["scope"] == ALL_JETS].r2.mean(), atol=0.1)
    assert (class_only[class_only["scope"] == WITHIN].r2.abs() < 0.1).all()
    assert set(known["scope"]) == {ALL_JETS}


def test_gains_are_differences_of_the_same_state(probes):
    rows = probes[(probes.state == "layer") & (probes["scope"] == WITHIN)]
    trained, untrained = (
        rows[rows.network == name].set_index("observable") for name in ("trained", "untrained")
    )
    assert np.allclose(trained.gain_untrained, trained.r2 - untrained.r2)
    assert (trained.gain_untrained_low > 0).all()
    assert untrained.gain_untrained.isna().all()
    worse = probe_table(readings(300, 0, "untrained"), readings(300, 1, "untrained"), 100, 1)
    within = worse[(worse.network == "trained") & (worse["scope"] == WITHIN)]
    assert (within.gain_untrained_high < 0).all()


def test_interval_covers_the_truth_as_often_as_it_says():
    """Observables are a state plus noise of the same size: half of the variance can be explained."""
    covered = []
    for seed in range(12):
        parts = []
        for place, jets in enumerate((2000, 200)):
            part, generator = readings(jets, 100 + 2 * seed + place), np.random.default_rng(seed + 50 * place)
            x = generator.normal(size=(jets, len(OBSERVABLES)))
            y = x + generator.normal(size=x.shape)
            states = np.repeat(x[:, None], 2, axis=1)
            held = {name: replace(own, states=states) for name, own in part.networks.items()}
            parts.append(replace(part, observables=y, networks=held))
        table = probe_table(*parts, 100, 1)
        own = table[(table.network == "trained") & (table["scope"] == ALL_JETS)]
        covered += list((own.low < 0.5) & (own.high > 0.5))
    assert 0.88 < np.mean(covered) < 0.99


def test_jets_without_an_observable_are_left_out_and_too_few_are_an_error():
    train, test = readings(60, 0), readings(60, 1)
    test.observables[:7, 4] = np.nan
    assert set(probe_table(train, test, 100, 1).n) == {53}
    assert set(correlation_table(test, 100, 1).n) == {53}
    test.observables[:, 4] = np.nan
    with pytest.raises(InputError, match=re.escape("only 0 have every observable; give more, 40 are needed")):
        probe_table(train, test, 100, 1)


def test_a_class_that_no_probe_was_fitted_on_is_no_error():
    train = readings(60, 0)
    train = replace(train, label=np.where(train.label == 3, 2, train.label))
    assert np.isfinite(probe_table(train, readings(60, 1), 100, 1).r2).all()


def test_rank_correlation_is_spearmans_and_within_groups_blind_to_their_means():
    generator = np.random.default_rng(0)
    group = np.arange(200) % 2
    a, b = generator.normal(size=(2, 3, 200)).round(1) + 5 * group
    together = rank_correlation(a, b, np.zeros(200, int))
    assert np.allclose(together, spearmanr(a, b, axis=1).statistic[:3, 3:])
    assert (together > 0.6).all()
    within = rank_correlation(a, b, group)
    parts = [spearmanr(a[:, group == g], b[:, group == g], axis=1).statistic[:3, 3:] for g in (0, 1)]
    assert np.allclose(within, np.mean(parts, axis=0), atol=0.01)
    assert np.isnan(rank_correlation(np.ones((1, 200)), b, group)).all()


def test_correction_is_benjamini_and_hochbergs():
    p = np.array([[0.01, np.nan], [0.02, 0.5]])
    assert np.allclose(corrected(p), [[0.03, np.nan], [0.03, 0.5]], equal_nan=True)
    assert np.isnan(corrected(np.full(2, np.nan))).all()


def test_correlations_with_noise_are_none_and_with_the_observable_itself_are_found():
    test = readings(200, 0)
    test.networks["trained"].summaries[:, 2, 0] = -test.observables[:, 5]
    table = correlation_table(test, 100, 1)
    assert len(table) == 2 * len(SUMMARIES) * len(OBSERVABLES)
    found = table[(table.summary == SUMMARIES[2]) & (table.observable == OBSERVABLES[5])]
    assert np.allclose(found.rho, -1)
    assert (found[["rho_q", "difference_q"]] < 0.05).all(axis=None)
    noise = table[table.summary != SUMMARIES[2]]
    assert (noise.rho_q < 0.05).mean() < 0.02
    assert ((noise.rho_low < 0) & (noise.rho_high > 0)).mean() > 0.85
    assert np.allclose(table.difference, table.rho - table.untrained)


def test_a_summary_that_knows_the_class_alone_has_no_correlation_within_classes():
    test = readings(200, 0)
    test.networks["trained"].summaries[:, 0, 0] += 5 * test.label
    table = correlation_table(test, 100, 1)
    own = table[table.summary == SUMMARIES[0]]
    assert (own[own["scope"] == ALL_JETS].rho_low > 0.5).all()
    assert (own[own["scope"] == WITHIN].rho_low < 0.1).all()
    assert (own[own["scope"] == WITHIN].rho_high < 0.4).all()
