"""The benchmark of loader and training: what it measures, on a few jets and a small network."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from softjet.config.part import ParTRun
from softjet.jets.batches import JetLoader
from softjet.jets.features import COLUMNS_NEEDED
from softjet.jets.tables import write_jets
from softjet.part.feeding import UNITS, measure_feeding, training_step
from softjet.part.model import ParticleTransformer
from softjet.part.train import class_loss


@pytest.fixture
def run():
    shape = {"embed_dims": (8, 8), "pair_embed_dims": (4,), "heads": 2, "blocks": 1, "class_blocks": 1}
    return ParTRun(model={"features": "kin", **shape}, training={"learning_rate": 0.01})


@pytest.fixture
def path(tmp_path):
    random = np.random.default_rng(1)
    lengths = random.integers(2, 9, 90)
    columns = {"label": pa.array(np.arange(90) % 10, pa.int8())}
    for name in COLUMNS_NEEDED["kin"]:
        values = [random.uniform(1, 2, n) for n in lengths]
        flat = pa.array(random.uniform(50, 60, 90), pa.float32())
        columns[name] = flat if name.startswith("jet_") else pa.array(values, pa.list_(pa.float32()))
    columns["part_energy"] = pa.array([np.full(n, 5.0) for n in lengths], pa.list_(pa.float32()))
    write_jets(pa.table(columns), tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


def test_every_quantity_is_measured_at_every_batch_size(path, run, tmp_path):
    table = measure_feeding([path], run, {16: 3, 30: 2}, samples=3, threads=1, scratch=tmp_path, noise=1e9)
    sizes = table.groupby("quantity")["batch"].apply(list)
    assert sorted(sizes.index) == sorted(UNITS)
    assert all(sorted(found) == [16, 30] for found in sizes)
    assert table["samples"].map(len).eq(3).all()
    assert (table["low"] <= table["median"]).all()
    assert (table["median"] <= table["high"]).all()
    assert table.query("quantity == 'waiting'")["median"].between(0, 1).all()
    assert table["jets"].eq(90).all()
    assert table["note"].eq("").all()
    assert table["precision"].isin(["float32", "bfloat16"]).all()
    assert [file.name for file in tmp_path.iterdir()] == ["train.parquet"]


def test_what_was_too_noisy_is_not_given(path, run, tmp_path):
    table = measure_feeding([path], run, {16: 3}, samples=2, threads=1, scratch=tmp_path, noise=0.0)
    assert table["note"].str.contains("too noisy").all()
    assert table[["median", "low", "high"]].isna().all(axis=None)


def test_a_training_step_learns(path, run):
    torch.manual_seed(1)
    model = ParticleTransformer(run.model)
    step = training_step(model, run.training)
    batch = next(JetLoader([path], "kin", 90, 1).training())
    before = class_loss(model, batch).item()
    for _ in range(20):
        step(batch)
    assert class_loss(model, batch).item() < before
