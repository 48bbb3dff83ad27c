import numpy as np
import pytest
import torch

from softjet.attention.reading import mixed
from softjet.attention.statistics import ALL, MULTIPLICITIES, statistics_table
from softjet.attention.sums import Ratio, Sums, draws, length_bin

KEYS = mixed(np.arange(20_000, dtype=np.uint64))


def test_draws_are_poisson_of_mean_one_and_independent():
    counts = draws(KEYS, 50, seed=1)
    assert (counts[0] == 1).all()
    drawn = counts[1:]
    shares = [(drawn == k).mean() for k in range(4)]
    assert shares == pytest.approx([0.3679, 0.3679, 0.1839, 0.0613], abs=0.002)
    assert drawn.var() == pytest.approx(1, abs=0.01)
    correlation = np.corrcoef(drawn[:, :300])
    assert np.abs(correlation[~np.eye(50, dtype=bool)]).max() < 0.3
    assert np.abs(np.corrcoef(drawn[0, :-1], drawn[0, 1:])[0, 1]) < 0.03


def test_draws_belong_to_the_jet_and_the_seed():
    whole = draws(KEYS[:10], 30, seed=1)
    assert np.array_equal(draws(KEYS[3:6], 30, seed=1), whole[:, 3:6])
    assert np.array_equal(draws(KEYS[:10], 20, seed=1), whole[:21])
    assert not np.array_equal(draws(KEYS[:10], 30, seed=2), whole)


def add(sums, top, bottom, key, n=None):
    """One layer, one head; a row a jet of class 0."""
    ratio = Ratio("share", torch.tensor(top)[:, None], torch.tensor(bottom)[:, None])
    n = np.full(len(key), 30) if n is None else n
    sums.add([[ratio]], key, np.zeros(len(key), np.int64), n, ("only", "other"))


def test_sums_by_multiplicity_are_of_the_jets_in_the_bin():
    n = np.array([1, 24, 25, 39, 40, 54, 55, 300])
    assert length_bin(n).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    sums = Sums(5, 1)
    add(sums, np.arange(8.0), np.ones(8), KEYS[:8], n)
    sums.flush()
    assert len(MULTIPLICITIES) == 4
    top, bottom = sums.columns[0, :2]
    assert sums.by_length[0, :, 0, top, 0].tolist() == [1, 5, 9, 13]
    assert sums.by_length[0, :, 0, bottom, 0].tolist() == sums.jets_of_length[0, :, 0].tolist() == [2] * 4
    assert not sums.by_length[1].any()
    weights = draws(KEYS[:8], 5, 1)
    assert np.array_equal(sums.by_class[0, :, top, 0, 0], weights @ np.arange(8.0))


def test_bins_of_multiplicity_do_not_depend_on_the_mix_of_classes():
    # Class 0 has a share of 0.2 and class 1 one of 0.6 whatever the multiplicity; their jets are not as long.
    label = np.repeat([0, 1, 0, 1, 1], [90, 10, 10, 90, 3])
    n = np.repeat([30, 30, 50, 50, 10], [90, 10, 10, 90, 3])
    sums = Sums(50, 1)
    top = torch.tensor(np.where(label == 0, 0.2, 0.6))[:, None]
    sums.add([[Ratio("share", top, torch.ones_like(top))]], KEYS[: len(n)], label, n, ("a", "b"))
    sums.flush()
    table = statistics_table({"share": sums}, {"share": sums})
    bins = table[(table.n_low > 0) & (table.layer == ALL)].set_index("n_low")
    assert bins.value.to_dict() == pytest.approx({1: 0.6, 25: 0.4, 40: 0.4})
    assert bins.n_jets.to_dict() == {1: 3, 25: 100, 40: 100}
    assert bins.low.notna().to_dict() == {1: False, 25: True, 40: True}


def test_a_class_with_few_jets_in_a_bin_is_left_out_of_it():
    label, n = np.repeat([0, 1], [20, 2]), np.full(22, 30)
    sums = Sums(50, 1)
    top = torch.tensor(label.astype(float))[:, None]
    sums.add([[Ratio("share", top, torch.ones_like(top))]], KEYS[:22], label, n, ("a", "b"))
    sums.flush()
    table = statistics_table({"share": sums}, {"share": sums})
    row = table[table.layer == ALL].set_index("n_low").loc[25]
    assert (row.value, row.n_jets) == (0, 20)


def test_interval_covers_the_truth_as_often_as_it_says():
    # Queries of a jet share the jet's own rate: an interval over rows would be far too narrow. Long jets
    # have a higher rate: a mean over jets would miss the share of queries.
    generator = np.random.default_rng(0)
    truth, covered = (10 * 2 / 14 + 90 * 8 / 20) / 100, []
    for trial in range(300):
        n = generator.choice([10, 90], 80)
        top = generator.binomial(n, generator.beta(np.where(n == 10, 2, 8), 12)).astype(float)
        sums = Sums(100, trial)
        add(sums, top, n.astype(float), mixed(KEYS[:80] + np.uint64(trial)))
        sums.flush()
        row = statistics_table({"share": sums}, {"share": sums}).iloc[0]
        covered.append(row.low <= truth <= row.high)
    assert 0.90 <= np.mean(covered) <= 0.98
