import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from softjet.attention.binary import binary
from softjet.attention.chance import tabulate
from softjet.attention.dataset import TABLES, record_dataset
from softjet.attention.parts import parts
from softjet.attention.reading import TOGETHER, JetReader, choose, chosen
from softjet.attention.statistics import ALL, statistics_table
from softjet.attention.stream import Statistic, stream
from softjet.attention.sums import Ratio
from softjet.config.attention import Attention
from softjet.errors import InputError

THRESHOLDS = (0.5, 0.9)
STATISTICS = {"binary": binary(THRESHOLDS, tabulate(THRESHOLDS, 16, 1, rows=200))} | parts(THRESHOLDS)


@pytest.fixture
def paths(jet_table, tmp_path):
    """The jets in two files of several row groups."""
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    pq.write_table(jet_table.take(np.random.default_rng(0).permutation(20)), paths[0], row_group_size=7)
    pq.write_table(jet_table.slice(20), paths[1], row_group_size=7)
    return paths


def read(paths, model, batch_size=4, jets=100):
    return JetReader(paths, jets, 1, model.config, batch_size)


def table_of(model, batches, statistics=STATISTICS):
    sums = stream(model, batches, statistics, 20, 1, 1e-4).sums
    return statistics_table(sums, sums)


def test_every_jet_comes_once_with_its_own_columns(paths, model, jet_table):
    batches = list(read(paths, model))
    entries = np.concatenate([batch.table["entry"].to_numpy() for batch in batches])
    assert sorted(entries) == list(range(30))
    assert read(paths, model).n_jets == 30
    for batch in batches:
        assert batch.label.tolist() == batch.table["label"].to_pylist()
        assert torch.equal(batch.column("part_px"), batch.vectors[:, 0])
        assert batch.n.tolist() == [len(px) for px in batch.table["part_px"].to_pylist()]
    assert len(np.unique(np.concatenate([batch.key for batch in batches]))) == 30


def test_a_jet_whose_attention_is_no_number_is_named(paths, model, jet_table):
    """Wherever it stands in a batch, of which not every jet is held to the block's output."""
    place, source = jet_table.column_names.index("part_px"), paths[0]
    field = jet_table.schema.field(place)
    for jet in range(30):
        px = jet_table["part_px"].to_pylist()
        px[jet][-1] = np.nan
        pq.write_table(jet_table.set_column(place, field, pa.array(px, field.type)), source)
        with pytest.raises(ArithmeticError, match=f"attention of blocks.0 to entry {jet} of a.root is no"):
            stream(model, read([source], model, 30), STATISTICS, 20, 1, 1e-4)


def test_classes_have_equal_parts_of_what_is_asked():
    labels = [np.array([0] * 50 + [1] * 3, np.int8), np.array([2] * 50, np.int8)]
    first, second = choose(labels, 30, seed=1)
    assert (first < 50).sum() == len(second) == 10
    assert first[10:].tolist() == [50, 51, 52]
    assert (np.diff(first) > 0).all()
    assert second.max() < 50


def test_values_are_those_of_the_queries_one_by_one(paths, model, jet_table, tmp_path):
    outputs = {name: tmp_path / f"{name}.parquet" for name in TABLES}
    record_dataset(model, jet_table, Attention(jets=30, maps=1), outputs)
    rows = pd.read_parquet(outputs["queries"])
    rows["itself"] = rows["argmax"] == rows["query"]
    rows["above"] = rows["max"] > 0.5
    rows["above_other"] = rows.above & ~rows.itself
    rows["keys"] = np.exp(rows.entropy)
    rows["extreme"] = (rows["max"] > 0.9) | (rows["max"] < 0.1)
    rows["hub"] = rows["argmax"] == rows.groupby(["jet", "layer", "head"])["argmax"].transform(
        lambda key: key.value_counts().index[0]
    )
    table = table_of(model, read(paths, model))
    table = table[table.threshold.isna() | (table.threshold == 0.5)]
    columns = {
        "self": "itself", "above": "above", "above_other": "above_other", "effective_keys": "keys",
        "largest": "max", "mutual": "mutual", "hub": "hub", "extreme": "extreme",
    }  # fmt: skip
    for (label, layer, head), cell in rows.groupby(["label", "layer", "head"]):
        found = table[(table.label == label) & (table.layer == layer) & (table["head"] == head)]
        found = found.set_index("statistic")
        for name, column in columns.items():
            assert found.value[name] == pytest.approx(cell[column].mean(), rel=1e-5), name
        assert found.denominator["self"] == len(cell)
    overall = table[(table[["layer", "head", "label", "n_low"]] == ALL).all(axis=1)].set_index("statistic")
    by_class = rows.groupby("label")
    expected = (by_class.itself.sum() / 10).sum() / (by_class.size() / 10).sum()
    assert overall.value["self"] == pytest.approx(expected)


def test_neither_batches_nor_the_order_of_files_matter(paths, model):
    once, again = (table_of(model, read(*how)) for how in ((paths, model), (paths[::-1], model, 30)))
    floats = list(once.select_dtypes("float"))
    assert once.drop(columns=floats).equals(again.drop(columns=floats))
    for name in floats:
        assert np.allclose(once[name], again[name], rtol=1e-4, atol=1e-6, equal_nan=True), name


def test_batches_are_read_at_once_and_nothing_of_one_enters_another(paths, model):
    """Two threads are between the queries and the output of the same module at the same time."""

    def meet(seen):
        meeting.wait()
        return [Ratio("largest", seen.over_queries(seen.largest), seen.queries)]

    batches = list(read(paths, model, 3))
    batches = batches[: len(batches) // 2 * 2]
    meeting = threading.Barrier(1)
    once = stream(model, batches, {"largest": Statistic(meet)}, 20, 1, 1e-4)
    meeting = threading.Barrier(2, timeout=30)
    torch.set_num_threads(2)
    try:
        twice = stream(model, batches, {"largest": Statistic(meet)}, 20, 1, 1e-4)
    finally:
        torch.set_num_threads(1)
    assert np.array_equal(once.sums["largest"].by_class, twice.sums["largest"].by_class)
    assert once.residual == twice.residual


def test_padding_enters_no_number(paths, model):
    def fill(jets, value):
        features, vectors = (torch.where(jets.mask, part, value) for part in (jets.features, jets.vectors))
        return replace(jets, features=features, vectors=vectors)

    every = {name: one._replace(every=1) for name, one in STATISTICS.items()}
    filled = ([fill(jets, value) for jets in read(paths, model, 9)] for value in (0, 7.0))
    tables = [table_of(model, batches, every) for batches in filled]
    assert tables[0].equals(tables[1])
    assert tables[0].value.notna().any()


def test_a_residual_above_the_bound_stops_the_stream(paths, model):
    model.blocks[1].attention.register_forward_hook(lambda module, given, output: output + 2e-4)
    with pytest.raises(ArithmeticError, match=r"blocks\.1: .* by 2\.00e-04, more than 1e-04"):
        stream(model, read(paths, model), STATISTICS, 20, 1, 1e-4)


def test_a_statistic_that_sees_no_jet_is_named(paths, model):
    rare = Statistic(lambda seen: [], every=1_000_000)
    with pytest.raises(InputError, match=r"attention: rare: saw none of .* one in 1000000; give more"):
        stream(model, read(paths, model), {"rare": rare}, 20, 1, 1e-4)


def test_a_share_of_the_jets_is_chosen_by_their_keys_and_all_layers_can_share_a_look(paths, model):
    looks = []

    def count(seen):
        looks.append(seen)
        return [Ratio("jets", torch.ones_like(seen.queries), torch.ones_like(seen.queries))]

    def jets(statistic, batch_size):
        looks.clear()
        sums = stream(model, read(paths, model, batch_size), {"count": statistic}, 20, 1, 1e-4).sums["count"]
        return sums.jets[:, 0], len(looks), sums.by_class.shape

    some, _, shape = jets(Statistic(count, every=3), 4)
    assert 0 < some.sum() < 30
    assert shape == (10, 21, 2, 3, 2)
    assert np.array_equal(some, jets(Statistic(count, every=3), 11)[0])
    whole, times, shape = jets(Statistic(count, by_layer=False), 10)
    batches = len(list(read(paths, model, 10)))
    assert (whole.sum(), times, shape) == (30, batches, (10, 21, 2, 1, 2))


def test_a_share_of_the_jets_is_seen_as_all_are(paths, model):
    seen = {}

    def statistic(every):
        def keep(part):
            for place, key in enumerate(part.jets.key):
                n = int(part.jets.n[place])
                rows = [getattr(part, name)[place, :, :n, :n] for name in ("weights", "logits", "qk", "bias")]
                seen.setdefault((int(key), part.layer), {})[every] = torch.stack(rows)
            return [Ratio("jets", torch.ones_like(part.queries), torch.ones_like(part.queries))]

        return Statistic(keep, every)

    stream(model, read(paths, model, 11), {"all": statistic(1), "some": statistic(3)}, 20, 1, 1e-4)
    both = [found for found in seen.values() if len(found) == 2]
    assert 0 < len(both) < len(seen)
    for found in both:
        assert torch.equal(found[1], found[3])
        weights, logits, qk, bias = found[1]
        torch.testing.assert_close(logits, qk + bias)
        torch.testing.assert_close(weights, logits.softmax(-1))


def test_jets_that_few_statistics_look_at_stand_together(paths, model):
    for jets in read(paths, model, 4):
        assert len(set(chosen(jets.key, TOGETHER).tolist())) == 1
        assert not chosen(jets.key, 2 * TOGETHER)[~chosen(jets.key, TOGETHER)].any()
