import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from softjet.attention.reading import mixed
from softjet.attention.statistics import ALL, statistics_table
from softjet.attention.sums import ANY, SHARE, Ratio, Sums
from softjet.errors import InputError


def sums_of(top, bottom, label, null=None, error=None, seed=1, by_layer=True, limits=ANY):
    """Sums of one statistic, `top` (J, L, H) over `bottom` (J,) in each layer and head, of three classes."""
    sums = Sums(200, seed, by_layer)
    J, layers, heads = top.shape
    below = torch.tensor(bottom)[:, None].expand(J, heads)

    def ratio(layer):
        expected = [None if x is None else torch.full((J, heads), float(x)) for x in (null, error)]
        return Ratio("share", torch.tensor(top[:, layer]), below, *expected, threshold=0.5, limits=limits)

    key = mixed(np.arange(J, dtype=np.uint64))
    n = np.where(np.arange(J) % 2, 30, 60)
    sums.add([[ratio(layer)] for layer in range(layers)], key, label, n, ("a", "b", "c"))
    sums.flush()
    return {"one": sums}


GENERATOR = np.random.default_rng(1)
LABEL = np.array([0] * 30 + [2] * 10)
TOP = GENERATOR.uniform(0, 1, (40, 2, 3)) * (1 + LABEL)[:, None, None]


def row(table, layer=ALL, head=ALL, label=ALL, n_low=ALL):
    wanted = {"layer": layer, "head": head, "label": label, "n_low": n_low}
    found = table[(table[list(wanted)] == list(wanted.values())).all(axis=1)]
    assert len(found) == 1
    return found.iloc[0]


def test_groups_hold_what_their_keys_say_and_classes_count_alike():
    sums = sums_of(TOP, np.full(40, 4.0), LABEL, null=1.0)
    table = statistics_table(sums, sums)
    assert len(table) == (1 + 2 + 6) * 3 + (1 + 2) * 2
    assert row(table, 1, 2, 2).value == pytest.approx(TOP[30:, 1, 2].mean() / 4)
    assert row(table, 1).value == pytest.approx((TOP[:30, 1].mean() + TOP[30:, 1].mean()) / 8)
    assert row(table).value == pytest.approx((TOP[:30].mean() + TOP[30:].mean()) / 8)
    assert row(table, n_low=25).value == pytest.approx((TOP[1:30:2].mean() + TOP[31::2].mean()) / 8)
    assert row(table, 0, n_low=55).value == pytest.approx((TOP[:30:2, 0].mean() + TOP[30::2, 0].mean()) / 8)
    assert row(table, label=0).value == pytest.approx(TOP[:30].mean() / 4)
    assert table.null.to_numpy() == pytest.approx(0.25)
    assert [row(table, label=label)["class"] for label in (ALL, 0, 2)] == ["all", "a", "c"]
    assert (row(table).n_jets, row(table, label=2).n_jets, row(table, n_low=25).n_jets) == (40, 10, 20)
    assert row(table, 0, 0, 0).denominator == pytest.approx(120)
    assert row(table).denominator == pytest.approx(40 * 4 * 6)


@pytest.mark.parametrize(("layers", "heads"), [(1, 3), (2, 1), (1, 1)])
def test_one_layer_and_one_head_have_rows_of_their_own(layers, heads):
    sums = sums_of(TOP[:, :layers, :heads], np.ones(40), LABEL)
    table = statistics_table(sums, sums)
    assert len(table) == (1 + layers + layers * heads) * 3 + (1 + layers) * 2
    assert row(table, 0, 0, 2).value == pytest.approx(TOP[30:, 0, 0].mean())
    assert np.isfinite(row(table, 0, 0, 2).q_untrained) == np.isfinite(row(table, 0, 0, 2).p_untrained)


def test_what_all_layers_share_is_told_by_head():
    sums = sums_of(TOP[:, :1], np.ones(40), LABEL, by_layer=False)
    table = statistics_table(sums, sums)
    assert len(table) == (1 + 3) * 3 + 2
    assert row(table, ALL, 1, 2).value == pytest.approx(TOP[30:, 0, 1].mean())


def test_intervals_widen_with_the_spread_and_with_the_nulls_own_error():
    exact, loose = (
        row(statistics_table(sums, sums), label=0)
        for sums in (sums_of(TOP, np.ones(40), LABEL, 0.5, error) for error in (0.0, 0.05))
    )
    per_jet = TOP[:30].mean((1, 2))
    assert exact.high - exact.low == pytest.approx(2 * 1.96 * per_jet.std() / np.sqrt(30), rel=0.2)
    assert exact.null_high - exact.null_low == pytest.approx(0, abs=1e-12)
    assert loose.null_high - loose.null_low == pytest.approx(2 * 1.96 * 0.05, rel=1e-3)
    assert loose.p_null > exact.p_null
    z = (per_jet.mean() - 0.5) / (per_jet.std() / np.sqrt(30))
    assert abs(z) < 4
    assert 0 < exact.p_null < 1


def test_a_shift_against_the_untrained_network_is_seen_in_pairs():
    shift = GENERATOR.normal(0.01, 0.02, TOP.shape)
    trained, untrained = sums_of(TOP + shift, np.ones(40), LABEL), sums_of(TOP, np.ones(40), LABEL)
    table = statistics_table(trained, untrained)
    # the intervals overlap, and yet the same jets tell the two apart
    assert row(table).low < row(table).untrained_high
    assert row(table).p_untrained < 1e-3
    assert row(table).untrained == pytest.approx(row(statistics_table(untrained, untrained)).value)


def test_cells_are_judged_together():
    sums = sums_of(TOP, np.ones(40), LABEL, null=0.6)
    table = statistics_table(sums, sums)
    cells = table[(table["head"] != ALL) & (table.label != ALL)]
    assert len(cells) == 12
    assert cells.q_null.to_numpy() == pytest.approx(false_discovery_control(cells.p_null))
    assert table.q_null.notna().sum() == 12
    assert table.p_untrained.isna().all()


@pytest.mark.parametrize("jets", [6, 12, 30])
def test_intervals_and_p_hold_what_they_say_with_few_jets(jets):
    parts, called = [], 0
    for seed in range(16):
        noise = np.random.default_rng(seed).normal(0.5, 0.1, (jets, 1, 60))
        sums = sums_of(noise, np.ones(jets), np.zeros(jets, int), null=0.5, seed=seed)
        table = statistics_table(sums, sums)
        cells = table[(table["head"] != ALL) & (table.label != ALL)]
        parts.append(cells.assign(error=noise[:, 0].std(0, ddof=1) / np.sqrt(jets)))
        called += (cells.q_null < 0.05).any()
    rows = pd.concat(parts)
    assert rows[["low", "p_null"]].notna().all(axis=None)
    assert len(rows) > 300
    assert 0.025 < ((rows.low > 0.5) | (rows.high < 0.5)).mean() < 0.075
    assert 0.025 < (rows.p_null < 0.05).mean() < 0.075
    assert called <= 3
    widths = (rows.high - rows.low) / (2 * student.ppf(0.975, jets - 1) * rows.error)
    assert widths.mean() == pytest.approx(1, rel=0.05)


def test_jets_without_anything_to_count_are_no_basis():
    bottom = np.where((LABEL == 2) & (np.arange(40) >= 34), 0.0, 1.0)
    bottom[:24] = 0.0
    sums = sums_of(TOP, bottom, LABEL)
    table = statistics_table(sums, sums)
    of_class = {label: row(table, label=label) for label in (0, 2)}
    assert [of_class[label].n_jets for label in (0, 2)] == [6, 4]
    assert of_class[0].low < of_class[0].high
    assert np.isnan(of_class[2].low)
    assert row(table).n_jets == 10
    assert [row(table, n_low=n).n_jets for n in (25, 55)] == [5, 5]


def test_too_few_jets_have_no_interval():
    label = np.array([0] * 36 + [2] * 4)
    sums = sums_of(TOP, np.ones(40), label, null=0.6)
    table = statistics_table(sums, sums)
    for few in (row(table), row(table, label=2)):
        assert np.isnan([few.low, few.high, few.untrained_low, few.null_high, few.p_null]).all()
        assert few.value > 0
    assert row(table, label=0).low < row(table, label=0).high


def test_sums_of_other_jets_are_refused():
    other = sums_of(TOP, np.ones(40), np.roll(LABEL, 3), seed=2)
    with pytest.raises(InputError, match="untrained: jets: are not those of the trained network"):
        statistics_table(sums_of(TOP, np.ones(40), LABEL), other)


def test_intervals_of_a_share_stay_within_what_is_possible():
    """A few jets have something to count, the rest nothing: percentiles are stretched beyond 0 and 1."""
    rare = np.zeros((40, 1, 1))
    rare[[1, 2, 33]] = 0.9
    free, kept = (sums_of(rare, np.ones(40), LABEL, limits=limits) for limits in (ANY, SHARE))
    mirrored = sums_of(1 - rare, np.ones(40), LABEL, limits=SHARE)
    assert row(statistics_table(free, free), label=2).low < 0
    inside = row(statistics_table(kept, mirrored), label=2)
    assert (inside.low, inside.untrained_high) == (0, 1)
    assert inside.low < inside.value < inside.high < 1
