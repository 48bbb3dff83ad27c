import numpy as np
import pytest
from small_trees import jet_table

from softjet.jets import tables
from softjet.jets.batch_sizes import median_batches
from softjet.jets.batches import JetLoader


@pytest.fixture
def path(tmp_path):
    tables.write_jets(jet_table(np.random.default_rng(2).integers(1, 60, 30)), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def test_sizes_beyond_the_jets_are_one_and_the_others_told(path, caplog):
    loaders = (JetLoader([path], "kin", size, seed=1) for size in (1, 30, 64, 512))
    assert [len(batch.labels) for batch in median_batches(loaders)] == [1, 30]
    told = "batches of {} jets are left out: the jets fill 30, which are timed"
    assert caplog.messages == [told.format(64), told.format(512)]


def test_sizes_that_the_jets_fill_are_all_there(path, caplog):
    loaders = [JetLoader([path], "kin", size, seed=1) for size in (1, 4, 16)]
    batches = list(median_batches(loaders))
    assert [b.rows.tolist() for b in batches] == [loader.median_batch().rows.tolist() for loader in loaders]
    assert not caplog.messages
