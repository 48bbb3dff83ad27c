"""Batches: every jet once an epoch, the same after a resume; little padding, few pools in memory."""

import itertools
import threading
import time
import weakref

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_trees import jet_table

import softjet.jets.batches as batches_module
import softjet.jets.tables as tables
from softjet.config.part import ParTModel
from softjet.errors import InputError
from softjet.jets.batches import JetLoader
from softjet.jets.features import model_inputs
from softjet.jets.schema import CLASSES

JETS = 1037
LENGTHS = np.random.default_rng(2).integers(1, 60, JETS)


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """Two files, 700 and 337 jets, in row groups of 100."""
    monkeypatch.setattr(tables, "ROW_GROUP", 100)
    table = jet_table(LENGTHS)
    names = [tmp_path / "train_0.parquet", tmp_path / "train_1.parquet"]
    tables.write_jets(table.slice(0, 700), names[0])
    tables.write_jets(table.slice(700), names[1])
    return names


@pytest.fixture
def loader(paths):
    return JetLoader(paths, "kin", batch_size=16, seed=3, pool=300)


def rows(batches):
    return [batch.rows.tolist() for batch in batches]


def reads(monkeypatch):
    """Row groups that are read from now on."""
    found = []
    plain = batches_module.read_group
    monkeypatch.setattr(
        batches_module, "read_group", lambda group, *how: found.append(group) or plain(group, *how)
    )
    return found


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("softjet-ahead")]


def write_class(path, label, jets, seed, classes=None):
    """Jets of one class; their multiplicity follows from neither class nor place."""
    table = jet_table(np.random.default_rng(seed).integers(1, 30, jets), seed)
    table = table.set_column(0, "label", pa.array(np.full(jets, label), pa.int8()))
    if classes:
        table = table.replace_schema_metadata({"classes": ",".join(classes)})
    tables.write_jets(table, path)
    return path


@pytest.fixture
def ten_files(tmp_path, monkeypatch):
    """Ten files of one class each, 400 jets but 800 of the first class, in row groups of 50."""
    monkeypatch.setattr(tables, "ROW_GROUP", 50)
    return [write_class(tmp_path / f"{c}.parquet", c, 800 if c == 0 else 400, c) for c in range(10)]


def test_an_epoch_holds_every_jet_once(loader):
    assert loader.n_jets == JETS
    stream = loader.training()
    first = rows(itertools.islice(stream, loader.steps_per_epoch))
    second = rows(itertools.islice(stream, loader.steps_per_epoch))
    for epoch in (first, second):
        assert sorted(itertools.chain(*epoch)) == list(range(JETS))
        assert max(map(len, epoch)) <= 16
        assert min(map(len, epoch)) >= 15
    assert first != second
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}


def test_a_batch_holds_the_inputs_of_its_rows(loader):
    table = jet_table(LENGTHS)
    for batch in itertools.chain(itertools.islice(loader.training(), 70), loader.evaluation()):
        jets = table.take(batch.rows.numpy())
        for got, wanted in zip(
            (batch.features, batch.vectors, batch.mask), model_inputs(jets, "kin"), strict=True
        ):
            np.testing.assert_array_equal(got.numpy(), wanted)
        assert batch.labels.tolist() == jets["label"].to_pylist()
        assert batch.labels.dtype == batch.rows.dtype == torch.int64


@pytest.mark.parametrize("step", [1, 19, 40, 67, 68, 150])
@pytest.mark.parametrize(("share", "workers"), [((0, 1), 0), ((1, 2), 1), ((2, 3), 3)])
def test_a_resumed_stream_goes_on_as_the_unbroken_one(loader, paths, step, share, workers):
    unbroken = rows(itertools.islice(loader.training(share=share), step, step + 40))
    again = JetLoader(paths, "kin", batch_size=16, seed=3, pool=300, workers=workers)
    assert rows(itertools.islice(again.training(step, share), 40)) == unbroken


def test_a_pool_is_shuffled_anew_in_every_epoch(tmp_path):
    tables.write_jets(jet_table(np.full(64, 5)), tmp_path / "a.parquet")
    loader = JetLoader([tmp_path / "a.parquet"], "kin", batch_size=16, seed=3)
    stream = loader.training()
    first, second = ({frozenset(b) for b in rows(itertools.islice(stream, 4))} for _ in range(2))
    assert not first & second


@pytest.mark.parametrize(("workers", "pools"), [(0, 1), (1, 3)])
def test_a_resume_reads_only_what_follows(paths, monkeypatch, workers, pools):
    read = reads(monkeypatch)
    loader = JetLoader(paths, "kin", batch_size=16, seed=3, pool=100, workers=workers)
    stream = loader.training(loader.steps_per_epoch - 1)
    got = set(next(stream).rows.tolist())
    stream.close()
    assert got <= {row for group in read for row in range(group.first_row, group.first_row + group.jets)}
    assert len(read) <= 2 * pools


@pytest.mark.parametrize("world", [2, 3, 5])
def test_processes_share_each_batch(loader, world):
    streams = [loader.training(7, (rank, world)) for rank in range(world)]
    for batch, *pieces in itertools.islice(zip(loader.training(7), *streams, strict=False), 70):
        assert sorted(row for piece in pieces for row in piece.rows.tolist()) == sorted(batch.rows.tolist())
        sizes = [len(piece.labels) for piece in pieces]
        assert max(sizes) - min(sizes) <= 1
        for rank, piece in enumerate(pieces):
            for name in ("features", "vectors", "mask", "labels", "rows"):
                assert torch.equal(getattr(piece, name), getattr(batch.piece((rank, world)), name))


def test_pieces_of_a_batch_are_of_similar_length(loader):
    for batch in itertools.islice(loader.training(), loader.steps_per_epoch):
        lengths = batch.mask.sum(dim=(1, 2))
        means = [float(lengths[rank::4].double().mean()) for rank in range(4)]
        assert max(means) - min(means) <= (lengths.max() - lengths.min()) * 4 / len(lengths) * 2


def test_a_piece_needs_two_jets(loader):
    with pytest.raises(InputError, match="training: batch_size: 15 jets are too few for 9 pieces"):
        next(loader.training(share=(0, 9)))
    with pytest.raises(InputError, match="training: batch_size"):
        next(loader.training()).piece((0, 9))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_change_no_batch(paths, workers):
    plain, other = (JetLoader(paths, "kin", batch_size=16, seed=3, pool=300, workers=n) for n in (0, workers))
    both = zip(plain.training(), other.training(), strict=False)
    for a, b in itertools.chain(
        itertools.islice(both, 150), zip(plain.evaluation(), other.evaluation(), strict=True)
    ):
        for name in ("features", "vectors", "mask", "labels", "rows"):
            assert torch.equal(getattr(a, name), getattr(b, name))


def test_seed_and_only_the_seed_decides_the_order(paths, loader):
    other = JetLoader(paths, "kin", batch_size=16, seed=4, pool=300)
    assert rows(itertools.islice(other.training(), 5)) != rows(itertools.islice(loader.training(), 5))


def test_a_batch_holds_jets_of_all_lengths_from_short_to_long(loader):
    epoch = list(itertools.islice(loader.training(), loader.steps_per_epoch))
    lengths = [batch.mask.sum(dim=(1, 2)).numpy() for batch in epoch]
    assert sum(map(sum, lengths)) == LENGTHS.sum()
    assert all((np.diff(found) >= 0).all() for found in lengths)
    # Means of random batches: a third of what batches of like length would have is far beyond chance.
    means = np.array([found.mean() for found in lengths])
    assert means.std() < 0.33 * LENGTHS.std()
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.3


def test_classes_are_mixed_in_a_batch(loader):
    for batch in itertools.islice(loader.training(), loader.steps_per_epoch):
        assert len(batch.labels.unique()) >= 4


def test_evaluation_gives_every_jet_once_sorted_by_length(loader, paths):
    batches = list(loader.evaluation())
    assert sorted(itertools.chain(*rows(batches))) == list(range(JETS))
    assert max(map(len, rows(batches))) == 16
    lengths = [batch.mask.sum(dim=(1, 2)) for batch in batches]
    assert all((length.diff() >= 0).all() for length in lengths)
    one_pool = [
        batch.mask.sum(dim=(1, 2)) for batch in JetLoader(paths, "kin", batch_size=16, seed=3).evaluation()
    ]
    assert all(long[0] >= short[-1] for long, short in itertools.pairwise(one_pool))
    assert one_pool[0].max() > one_pool[-1].max()


@pytest.mark.parametrize("pool", [100, 300, 2000])
@pytest.mark.parametrize("order", [1, -1])
def test_the_median_batch_is_of_median_multiplicity_however_many_pools(tmp_path, monkeypatch, pool, order):
    monkeypatch.setattr(tables, "ROW_GROUP", 100)
    # Files of unlike jets: the pool in the middle holds none of the median multiplicity.
    parts = np.split(np.sort(LENGTHS), [400, 700])[::order]
    paths = [tmp_path / f"{place}.parquet" for place in (2, 0, 1)]
    for path, lengths in zip(paths, parts, strict=True):
        tables.write_jets(jet_table(np.random.default_rng(1).permutation(lengths)), path)
    median = int(np.median(LENGTHS))
    jet = JetLoader(sorted(paths), "kin", batch_size=1, seed=3, pool=pool).median_batch()
    assert jet.mask.shape == (1, 1, median)
    batch = JetLoader(sorted(paths), "kin", batch_size=16, seed=3, pool=pool).median_batch()
    lengths = batch.mask.sum(dim=(1, 2))
    assert len(lengths) == 16
    assert abs(lengths - median).max() <= 8


def test_the_median_batch_is_of_whole_ones(tmp_path):
    tables.write_jets(jet_table([1, 2, 3, 4, 5, 6, 7]), tmp_path / "a.parquet")
    for size, rows_of_it in ((3, [3, 4, 5]), (4, [0, 1, 2, 3]), (9, list(range(7)))):
        loader = JetLoader([tmp_path / "a.parquet"], "kin", batch_size=size, seed=3)
        assert loader.median_batch().rows.tolist() == rows_of_it
    assert not threads()


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_evaluation(loader, world):
    shares = [list(itertools.chain(*rows(loader.evaluation((rank, world))))) for rank in range(world)]
    assert sorted(itertools.chain(*shares)) == list(range(JETS))
    assert max(map(len, shares)) - min(map(len, shares)) <= 3  # one jet a pool


def test_a_process_may_have_no_jet_to_evaluate(tmp_path):
    tables.write_jets(jet_table([3, 4]), tmp_path / "a.parquet")
    loader = JetLoader([tmp_path / "a.parquet"], "kin", batch_size=16, seed=3)
    assert [rows(loader.evaluation((rank, 3))) for rank in range(3)] == [[[0]], [[1]], []]


def test_small_sets_stay_in_memory_and_large_ones_give_the_same_batches(paths, loader):
    large = JetLoader(paths, "kin", batch_size=16, seed=3, pool=300, kept=0)
    expected = rows(itertools.islice(large.training(), 2 * large.steps_per_epoch))
    assert not large._kept
    stream = loader.training()
    got = rows(itertools.islice(stream, loader.steps_per_epoch))
    for path in paths:
        path.unlink()
    assert got + rows(itertools.islice(stream, loader.steps_per_epoch)) == expected


@pytest.mark.parametrize(("jets", "size"), [(2, 16), (15, 16), (17, 16), (33, 16), (3, 2), (129, 2)])
def test_no_batch_of_training_has_fewer_than_two_jets(tmp_path, jets, size):
    tables.write_jets(jet_table(LENGTHS[:jets]), tmp_path / "a.parquet")
    loader = JetLoader([tmp_path / "a.parquet"], "kin", batch_size=size, seed=3)
    sizes = list(map(len, rows(itertools.islice(loader.training(), loader.steps_per_epoch))))
    assert sum(sizes) == jets
    assert min(sizes) >= 2


def test_what_holds_no_jets_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_text("jets")
    tables.write_jets(jet_table([3]), tmp_path / "one.parquet")
    for name, field in (("a.parquet", "jets"), ("one.parquet", "jets"), ("none.parquet", "jets")):
        with pytest.raises(InputError) as caught:
            JetLoader([tmp_path / name], "kin", batch_size=16, seed=3)
        assert str(caught.value).startswith(f"{tmp_path / name}: {field}: ")


def test_single_class_files_mix(ten_files):
    loader = JetLoader(ten_files, "kin", batch_size=50, seed=3, pool=100)
    plans = [loader._epoch(epoch) for epoch in (0, 1)]
    for plan in (*plans[0], *plans[1]):
        counts = np.zeros(10)
        for group in plan.groups:
            counts[group.labels[0]] += group.jets
        share = counts.sum() / loader.n_jets
        assert np.abs(counts - share * np.array([800, *[400] * 9])).max() <= 50  # a row group
    assert len(plans[0]) >= 8
    assert {frozenset(p.groups) for p in plans[0]} != {frozenset(p.groups) for p in plans[1]}


def test_batches_of_single_class_files_hold_the_classes_in_their_shares(ten_files):
    loader = JetLoader(ten_files, "kin", batch_size=50, seed=3, pool=100)
    epoch = list(itertools.islice(loader.training(), loader.steps_per_epoch))
    counts = np.array([np.bincount(batch.labels, minlength=10) for batch in epoch])
    assert (counts.sum(0) == [800, *[400] * 9]).all()
    share = counts[:, 0] / counts.sum(1)
    assert abs(share.mean() - 2 / 11) < 0.01
    # As independent draws would have it, or closer.
    assert share.std() < 1.3 * np.sqrt(2 / 11 * 9 / 11 / 48)
    assert ((counts > 0).sum(1) >= 8).mean() > 0.95


def test_a_cap_keeps_the_shares_and_reads_little(ten_files, monkeypatch):
    read = reads(monkeypatch)
    loader = JetLoader(ten_files, "kin", batch_size=16, seed=3, most=110)
    batches = list(loader.evaluation())
    labels = np.concatenate([batch.labels for batch in batches])
    assert loader.n_jets == 110
    assert np.bincount(labels).tolist() == [20, *[10] * 9]
    assert len(read) == 10
    whole = JetLoader(ten_files, "kin", batch_size=16, seed=3)
    assert whole.n_jets == JetLoader(ten_files, "kin", batch_size=16, seed=3, most=10**6).n_jets
    label_of_row = dict(
        zip(
            *(np.concatenate([getattr(b, n) for b in whole.evaluation()]) for n in ("rows", "labels")),
            strict=True,
        )
    )
    assert [label_of_row[row] for row in itertools.chain(*rows(batches))] == labels.tolist()
    # Jets come from all over a row group.
    assert max(row % 50 for row in itertools.chain(*rows(batches))) > 30
    other = JetLoader(ten_files, "kin", batch_size=16, seed=4, most=110)
    assert set(itertools.chain(*rows(other.evaluation()))) != set(itertools.chain(*rows(batches)))


def test_few_pools_are_in_memory(paths, monkeypatch):
    alive, most = weakref.WeakSet(), []

    class Counted(batches_module.Pool):
        def __init__(self, parts):
            super().__init__(parts)
            alive.add(self)
            most.append(len(alive))

    monkeypatch.setattr(batches_module, "Pool", Counted)
    loader = JetLoader(paths, "kin", batch_size=16, seed=3, pool=100, kept=0)
    stream = loader.training()
    next(stream)
    while len(most) < 2:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(most) == 2  # the one in use and the next, however long the caller takes
    for _ in itertools.islice(stream, 3 * loader.steps_per_epoch):
        pass
    assert len(most) >= 20
    assert max(most) <= 3  # two, and the last batches of a third


def test_no_thread_outlives_its_stream(loader):
    stream = loader.training()
    next(stream)
    assert threads()
    stream.close()
    assert not threads()
    stream = loader.evaluation()
    next(stream)
    del stream
    assert not threads()
    list(loader.evaluation())
    assert not threads()


@pytest.mark.parametrize("workers", [0, 2])
def test_what_goes_wrong_in_a_thread_reaches_the_caller(paths, workers):
    loader = JetLoader(paths, "kin", batch_size=16, seed=3, pool=300, workers=workers)
    paths[1].write_bytes(paths[1].read_bytes()[:200])
    with pytest.raises(InputError) as caught:
        list(itertools.islice(loader.training(), loader.steps_per_epoch))
    assert str(caught.value).startswith(f"{paths[1]}: row group ")
    assert "\n" not in str(caught.value)
    assert not threads()


def test_a_missing_column_is_named_with_its_file(tmp_path):
    path = tmp_path / "a.parquet"
    tables.write_jets(jet_table(LENGTHS[:30]).drop_columns(["part_charge"]), path)
    with pytest.raises(InputError, match="part_charge") as caught:
        JetLoader([path], "full", batch_size=16, seed=3)
    assert str(caught.value).startswith(f"{path}: ")


def test_classes_come_from_the_files(tmp_path):
    top = ("QCD", "Top")
    paths = [write_class(tmp_path / f"{c}.parquet", c, 20, c, top) for c in (0, 1)]
    loader = JetLoader(paths, "kin", batch_size=16, seed=3)
    assert loader.classes == top
    shape = ParTModel(features="kin", classes=2)
    assert JetLoader.for_model(paths, shape, 16).classes == top
    with pytest.raises(InputError, match=r"2 \(QCD,Top\), but the model has 10"):
        JetLoader.for_model(paths, ParTModel(features="kin"), 16)
    plain = write_class(tmp_path / "plain.parquet", 1, 20, 3)
    assert JetLoader([plain], "kin", batch_size=16, seed=3).classes == CLASSES
    with pytest.raises(InputError) as caught:
        JetLoader([*paths, plain], "kin", batch_size=16, seed=3)
    assert str(caught.value).startswith(f"{plain}: classes: ")


@pytest.mark.parametrize(("label", "statistics"), [(2, True), (2, False), (-1, True)])
def test_a_label_outside_the_classes_is_refused(tmp_path, label, statistics):
    path = write_class(tmp_path / "a.parquet", label, 20, 1, ("QCD", "Top"))
    if not statistics:
        pq.write_table(pq.read_table(path), path, write_statistics=False)
    with pytest.raises(InputError) as caught:
        JetLoader([path], "kin", batch_size=16, seed=3)
    assert str(caught.value).startswith(f"{path}: label: {label} to {label}, but ")


def test_missing_labels_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    table = jet_table([3, 4, 5])
    pq.write_table(table.drop_columns(["label"]), path)
    with pytest.raises(InputError, match="label: no such column"):
        JetLoader([path], "kin", batch_size=16, seed=3)
    pq.write_table(table.set_column(0, "label", pa.array([0, None, 1], pa.int8())), path)
    with pytest.raises(InputError, match="label: missing for 1 jets"):
        JetLoader([path], "kin", batch_size=16, seed=3)
