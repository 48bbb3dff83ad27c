import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from softjet.attention.queries import SCHEMA
from softjet.attention.statistics import attention_statistics, jet_sums, ratio_interval, resample
from softjet.errors import InputError


def write(path, rows, rows_per_group=3):
    frame = pd.DataFrame([{"mutual": False} | row for row in rows]).fillna(0)
    for name in SCHEMA.names:
        if name not in frame:
            frame[name] = 0
    table = pa.Table.from_pandas(frame[SCHEMA.names], preserve_index=False).cast(SCHEMA)
    pq.write_table(table, path, row_group_size=rows_per_group)
    return path


def query(jet, label, n, layer, query, **rest):
    return {"jet": jet, "label": label, "n": n, "layer": layer, "query": query} | rest


BY_HAND = [
    # a jet of two particles, class 0; two layers of one head
    query(0, 0, 2, 0, 0, argmax=1, max=0.95, entropy=0.0, mutual=True, null_max=0.6),
    query(0, 0, 2, 0, 1, argmax=0, max=0.60, entropy=np.log(2), mutual=True, null_max=0.4),
    query(0, 0, 2, 1, 0, argmax=0, max=0.50, entropy=np.log(4), null_argmax=1),
    query(0, 0, 2, 1, 1, argmax=0, max=0.85, entropy=0.0, null_argmax=1),
    # a jet of one, class 3
    query(1, 3, 1, 0, 0, argmax=0, max=1.0, entropy=0.0, null_max=1.0, null_entropy=np.log(3)),
    query(1, 3, 1, 1, 0, argmax=0, max=1.0, entropy=0.0, null_max=1.0),
]


def test_statistics_of_a_table_made_by_hand(tmp_path):
    path = write(tmp_path / "trained.parquet", BY_HAND)
    fresh = write(tmp_path / "untrained.parquet", [row | {"max": 0.1} for row in BY_HAND])
    table = attention_statistics(path, fresh, thresholds=(0.5, 0.9), bootstrap=100, seed=1)

    def row(statistic, threshold=None, layer=-1, head=-1, label=-1):
        found = table[(table.statistic == statistic) & (table.layer == layer) & (table["head"] == head)]
        found = found[found.label == label]
        return found.iloc[0] if threshold is None else found[found.threshold == threshold].iloc[0]

    overall = row("above", 0.5)
    assert (overall.value, overall.null, overall.untrained) == pytest.approx((5 / 6, 3 / 6, 0))
    assert (overall.n_jets, overall.n_queries) == (2, 6)
    assert row("above", 0.9).value == pytest.approx(3 / 6)
    assert row("above", 0.5, layer=1).value == pytest.approx(2 / 3)
    assert row("above", 0.5, layer=0, head=0).value == pytest.approx(1)
    assert row("above", 0.9, label=3).value == pytest.approx(1)
    assert row("above", 0.9, label=0).value == pytest.approx(1 / 4)
    assert row("above", 0.9, label=0).n_queries == 4
    assert row("effective_keys").value == pytest.approx((1 + 2 + 4 + 1 + 1 + 1) / 6)
    assert row("effective_keys").null == pytest.approx((5 + 3) / 6)
    assert (row("self").value, row("self").null) == pytest.approx((3 / 6, 4 / 6))
    assert (row("mutual").value, row("mutual").null) == pytest.approx((2 / 6, 0))
    assert (row("above_other", 0.5).value, row("above_other", 0.5).null) == pytest.approx((3 / 6, 0))
    assert row("above_other", 0.9, layer=0).value == pytest.approx(1 / 3)
    assert len(table) == 7 * (1 + 2 + 2 + 2)
    assert np.isnan([overall.low, overall.high, overall.null_low]).all()


def test_sums_do_not_depend_on_row_groups(tmp_path):
    sums = [jet_sums(write(tmp_path / f"{size}", BY_HAND, size), (0.5,)) for size in (1, 6)]
    assert np.array_equal(sums[0].real, sums[1].real)
    assert sums[0].n.tolist() == [2, 1]


def test_tables_of_other_jets_are_refused(tmp_path):
    path = write(tmp_path / "trained.parquet", BY_HAND)
    other = write(tmp_path / "untrained.parquet", [row | {"label": 0} for row in BY_HAND])
    with pytest.raises(InputError, match=r"untrained\.parquet: jet: is not the sample of"):
        attention_statistics(path, other, (0.5,), 100, 1)


def test_resampling_keeps_the_jets_of_each_class():
    label = np.array([0] * 6 + [1] * 9 + [2] * 4)
    counts = resample(label, 200, seed=1)
    assert (counts[:, :6].sum(1) == 6).all()
    assert (counts[:, 6:15].sum(1) == 9).all()
    assert np.isnan(counts[:, 15:]).all()
    assert np.array_equal(counts, resample(label, 200, seed=1), equal_nan=True)


def test_interval_covers_the_truth_as_often_as_it_says():
    # Queries of a jet share the jet's own rate: an interval over rows would be far too narrow. Long jets
    # have a higher rate: a mean over jets would miss the share of queries.
    generator = np.random.default_rng(0)
    covered = []
    for trial in range(300):
        n = generator.choice([10, 90], 80)
        top = generator.binomial(n, generator.beta(np.where(n == 10, 2, 8), 12))[:, None].astype(float)
        _, low, high = ratio_interval(top, n.astype(float), resample(np.zeros(80, int), 200, trial))
        covered.append(low[0] <= (10 * 2 / 14 + 90 * 8 / 20) / 100 <= high[0])
    assert 0.90 <= np.mean(covered) <= 0.98
