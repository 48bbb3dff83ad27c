"""Batches: every jet once an epoch, the same after a resume, little padding."""

import itertools

import numpy as np
import pytest
import torch
from small_trees import jet_table

import softjet.jets.batches as batches_module
import softjet.jets.tables as tables
from softjet.errors import InputError
from softjet.jets.batches import JetLoader
from softjet.jets.features import model_inputs

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


@pytest.mark.parametrize("step", [1, 19, 40, 66, 67, 150])
def test_a_resumed_stream_goes_on_as_the_unbroken_one(loader, paths, step):
    unbroken = rows(itertools.islice(loader.training(), step, step + 40))
    again = JetLoader(paths, "kin", batch_size=16, seed=3, pool=300)
    assert rows(itertools.islice(again.training(step), 40)) == unbroken


def test_a_resume_reads_only_the_pools_it_needs(loader, monkeypatch):
    read = []
    monkeypatch.setattr(
        batches_module, "_read", lambda group, plain=batches_module._read: read.append(1) or plain(group)
    )
    next(loader.training(loader.steps_per_epoch - 1))
    assert len(read) <= 5


def test_seed_and_only_the_seed_decides_the_order(paths, loader):
    other = JetLoader(paths, "kin", batch_size=16, seed=4, pool=300)
    assert rows(itertools.islice(other.training(), 5)) != rows(itertools.islice(loader.training(), 5))


def test_little_is_padding_and_batches_come_in_random_order(loader):
    epoch = list(itertools.islice(loader.training(), loader.steps_per_epoch))
    real = sum(int(batch.mask.sum()) for batch in epoch)
    assert real == LENGTHS.sum()
    assert real / sum(batch.mask.numel() for batch in epoch) > 0.93
    longest = np.array([batch.mask.shape[-1] for batch in epoch])
    assert abs(np.corrcoef(longest[1:], longest[:-1])[0, 1]) < 0.3


def test_classes_are_mixed_in_a_batch(loader):
    for batch in itertools.islice(loader.training(), loader.steps_per_epoch):
        assert len(batch.labels.unique()) >= 4


def test_evaluation_gives_every_jet_once_sorted_by_length(loader):
    batches = list(loader.evaluation())
    assert sorted(itertools.chain(*rows(batches))) == list(range(JETS))
    assert len(batches) == loader.steps_per_epoch
    lengths = [batch.mask.sum(dim=(1, 2)) for batch in batches]
    assert all((length.diff() >= 0).all() for length in lengths)


def test_small_sets_stay_in_memory_and_large_ones_give_the_same_batches(paths, loader, monkeypatch):
    monkeypatch.setattr(batches_module, "KEPT", 0)
    large = JetLoader(paths, "kin", batch_size=16, seed=3, pool=300)
    expected = rows(itertools.islice(large.training(), 2 * large.steps_per_epoch))
    assert not large._kept
    monkeypatch.undo()
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
