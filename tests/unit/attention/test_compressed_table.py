import copy

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from softjet.attention.compressed import compare_attention, read_states
from softjet.attention.compressed_runs import Comparison, Run, comparisons, pairs_of
from softjet.attention.compressed_table import COLUMNS, compressed_table, over_seeds
from softjet.attention.head_ranks import head_table
from softjet.attention.reading import JetReader
from softjet.config.joined import Joined
from softjet.errors import InputError

SETTINGS = Joined(batch_size=30, bootstrap=100, thresholds=(0.5,))
BASE, DENSE = Run("base", 1.0, 0), Run("dense", 1.0, 1)
SOFT = Run("soft-threshold", 0.5, 1)


@pytest.fixture
def path(jet_table, tmp_path):
    """60 jets with substructure of their own."""
    generator = np.random.default_rng(3)
    table = pa.concat_tables([jet_table, jet_table])
    scales = dict.fromkeys(("jet_tau1", "jet_tau2", "jet_tau3", "jet_tau4"), 1.0)
    scales |= {"jet_sdmass": 50.0, "jet_nparticles": 40.0}
    columns = {name: generator.uniform(0.2, 0.9, 60) * scale for name, scale in scales.items()}
    for name, values in (columns | {"entry": np.arange(60)}).items():
        place = table.schema.get_field_index(name)
        wanted = table.schema.field(name).type
        table = table.set_column(place, name, pa.array(values).cast(wanted, safe=False))
    pq.write_table(table, tmp_path / "jets.parquet")
    return tmp_path / "jets.parquet"


def table_of(runs, models, path, settings=SETTINGS):
    shape = next(iter(models.values())).config
    reader = JetReader([path], 60, 1, shape, settings.batch_size)
    against = comparisons(runs)
    test = compare_attention(models, pairs_of(against), reader, settings)
    heads = {
        name: head_table(models[name], models[one.dense], {})
        for name, one in against.items()
        if runs[name].method not in ("base", "dense")
    }
    return compressed_table(runs, read_states(models, reader), test, heads, settings)


@pytest.fixture
def same(model, path):
    runs = {"base": BASE, "dense": DENSE, "soft": SOFT}
    return table_of(runs, {name: copy.deepcopy(model) for name in runs}, path)


def cells(table, quantity, run="soft-threshold-0.5", seed=-1):
    own = table[(table.run == run) & (table.quantity == quantity) & (table.seed == seed)]
    return own.set_index(["layer", "head"])


def changed(model, change):
    other = copy.deepcopy(model)
    with torch.no_grad():
        change(other)
    return other


def destroy(network):
    """Queries and keys of head 1 in layer 1 say nothing."""
    for first in (8, 24):
        network.blocks[1].attention.in_proj.weight[first : first + 8] = 0
        network.blocks[1].attention.in_proj.bias[first : first + 8] = 0


def test_identical_models_agree_everywhere_and_nothing_changes(same):
    assert list(same.columns) == list(COLUMNS)
    assert set(same.run) == {"base-1.0", "soft-threshold-0.5"}
    assert (same.seed == -1).all()
    agreed = same[same.quantity == "agreement"]
    assert (agreed.value == 1).all()
    assert (same.change == 0).all()
    measured = same[same.n > 0]
    assert (measured[["low", "high"]] == 0).all(axis=None)
    assert (measured.p == 1).all()
    assert (same.loss.dropna() == 0).all()
    assert len(agreed[agreed.run == "soft-threshold-0.5"]) == 1 + 3 + 3 * 2


def test_values_are_those_of_the_same_jets_taken_by_themselves(same, model, path):
    whole = cells(same, "above")
    reader = JetReader([path], 60, 1, model.config, 60)
    above = n = 0
    sample = compare_attention({"one": model}, [], reader, SETTINGS)
    above = sample.sharpness["one"][:, 0].sum(0)
    n = sample.n.sum()
    assert whole.value[-1, -1] == pytest.approx(above.sum() / (6 * n))
    assert whole.value[2, -1] == pytest.approx(above[2].sum() / (2 * n))
    assert whole.value[1, 0] == pytest.approx(above[1, 0] / n)
    assert (whole.n == 60).all()


def test_a_destroyed_head_shows_there_and_not_before_or_beside(model, path):
    runs = {"base": BASE, "dense": DENSE, "soft": SOFT}
    # In the fixture the pair bias outweighs queries and keys.
    dense = changed(model, lambda network: network.blocks[1].attention.in_proj.weight.mul_(8))
    table = table_of(runs, {"base": dense, "dense": dense, "soft": changed(dense, destroy)}, path)
    agreed = cells(table, "agreement")
    assert agreed.value[1, 1] < 0.8
    assert (agreed.value[[(0, 0), (0, 1), (1, 0)]] == 1).all()
    assert agreed.high[1, 1] < 0
    assert agreed.q[1, 1] < 0.05
    assert agreed.loss[1, 1] == pytest.approx(1 - agreed.value[1, 1])
    ranks = table[table.quantity == "head_rank"].set_index(["detail", "layer", "head"])
    assert ranks.value[["query"]].min() == ranks.value["query", 1, 1] == ranks.value["key", 1, 1] == 0
    assert (ranks.drop([("query", 1, 1), ("key", 1, 1)]).change == 0).all()
    assert ranks.loss["query", 1, 1] == 1
    assert ranks.low.isna().all()
    below = cells(table, "probe_layer")
    assert (below.change[below.index.get_level_values("layer") == 0] == 0).all()
    assert (cells(table, "probe_token_within").change != 0).all()


def test_agreement_stands_beside_that_of_two_dense_models(model, path):
    other = changed(model, lambda network: network.blocks[0].attention.in_proj.weight.mul_(1.3))
    runs = {"base": BASE, "dense": DENSE, "second": Run("dense", 1.0, 2), "soft": SOFT}
    table = table_of(runs, {"base": model, "dense": model, "second": other, "soft": other}, path)
    agreed = cells(table, "agreement")
    assert agreed.value[-1, -1] < 1
    assert (agreed.value == agreed.dense).all()
    assert (cells(table, "agreement", "dense-1.0").value == agreed.value).all()
    assert (cells(table, "agreement", "base-1.0").value == 1).all()


def test_seeds_are_averaged_and_each_is_given(model, path):
    broken = changed(model, destroy)
    runs = {"base": BASE, "dense": DENSE, "second": Run("dense", 1.0, 2), "soft": SOFT}
    runs["again"] = Run("soft-threshold", 0.5, 2)
    models = dict.fromkeys(runs, model) | {"soft": broken}
    table = table_of(runs, models, path)
    mean = cells(table, "agreement")
    one, other = (
        cells(table, "agreement", name, seed).value[1, 1] for name, seed in (("soft", 1), ("again", 2))
    )
    assert other == 1 > one
    assert mean.value[1, 1] == pytest.approx((one + other) / 2)
    assert (mean.seeds == 2).all()
    assert table[table.seed != -1].q.isna().all()
    assert mean.high[1, 1] - mean.low[1, 1] > (1 - one) / 2


def test_seeds_widen_the_spread_and_one_adds_none():
    values = np.stack([np.full((5000, 1), level) for level in (0.0, 1.0)])
    assert np.array_equal(over_seeds(values[:1], 1), values[0])
    found = over_seeds(values, 1)[1:, 0]
    assert over_seeds(values, 1)[0, 0] == 0.5
    # Variance of the mean of two: s^2 / 2 with s^2 = 1/2.
    assert found.var() == pytest.approx(0.25, rel=0.05)


def test_what_the_dense_model_does_not_hold_cannot_be_lost(model, path):
    """States of a network that says nothing of the jets have no R^2 to lose."""

    def silence(network):
        network.norm.weight.zero_()

    runs = {"base": BASE, "dense": DENSE, "soft": SOFT}
    silent = changed(model, silence)
    table = table_of(runs, {"base": model, "dense": silent, "soft": model}, path)
    token = cells(table, "probe_token_within")
    assert token.loss.isna().all()
    assert token.change.notna().all()


def test_runs_are_compared_with_the_dense_one_of_their_seed():
    runs = {"base": BASE, "a": DENSE, "b": Run("dense", 1.0, 2), "c": Run("svd", 0.3, 2)}
    found = comparisons(runs)
    assert found["c"] == Comparison("b", "a")
    assert found["b"] == found["base"] == Comparison("a", "b")
    assert set(pairs_of(found)) == {("base", "a"), ("b", "a"), ("c", "b"), ("a", "b")}
    one = comparisons({"base": BASE, "a": DENSE, "c": SOFT})
    assert one["c"] == Comparison("a", "base")


@pytest.mark.parametrize(
    ("runs", "words"),
    [({"a": DENSE}, "no base"), ({"base": BASE, "a": DENSE, "c": Run("svd", 0.5, 7)}, "no dense run")],
)
def test_a_comparison_without_its_dense_model_is_refused(runs, words):
    with pytest.raises(InputError, match=words):
        comparisons(runs)
