import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from softjet.attention import record
from softjet.attention.dataset import TABLES, prepare, record_dataset
from softjet.config.attention import Attention

SETTINGS = Attention(jets=30, maps=4, batch_size=7)


@pytest.fixture
def recorded(model, jet_table, tmp_path):
    """Tables of a recording, and the residual it gave."""
    outputs = {name: tmp_path / f"{name}.parquet" for name in TABLES}
    residual = record_dataset(model, jet_table, SETTINGS, outputs)
    return {name: pd.read_parquet(path) for name, path in outputs.items()}, residual


def test_every_jet_layer_head_and_query_has_a_row(recorded, jet_table):
    tables, residual = recorded
    n = np.array([len(px) for px in jet_table["part_px"].to_pylist()])
    queries, jets = tables["queries"], tables["jets"]
    assert len(queries) == n.sum() * 3 * 2
    assert not queries.duplicated(["jet", "layer", "head", "query"]).any()
    assert (queries.n == n[queries.jet]).all()
    assert jets.jet.tolist() == list(range(30))
    assert (jets.n == n).all()
    assert jets.entry.tolist() == jet_table["entry"].to_pylist()
    assert jets.label.tolist() == jet_table["label"].to_pylist()
    assert 0 <= residual == jets.residual.max() < 1e-5


def test_batches_do_not_matter(recorded, model, jet_table, tmp_path):
    outputs = {name: tmp_path / f"whole_{name}.parquet" for name in TABLES}
    record_dataset(model, jet_table, SETTINGS.model_copy(update={"batch_size": 30}), outputs)
    keys = ["jet", "layer", "head", "query"]
    here, there = (
        table.sort_values(keys).reset_index(drop=True)
        for table in (recorded[0]["queries"], pd.read_parquet(outputs["queries"]))
    )
    for name in here:
        assert np.allclose(here[name], there[name], rtol=1e-3, atol=1e-5), name


def test_maps_are_the_recorded_weights_of_the_first_jets(recorded, model, jet_table):
    maps, particles = recorded[0]["maps"], recorded[0]["particles"]
    assert sorted(maps.jet.unique()) == sorted(particles.jet.unique()) == [0, 1, 2, 3]
    assert (maps.groupby("jet").size() == 6).all()
    batch = prepare(jet_table.slice(2, 1), np.array([2]), model.config)
    seen = record(model, *batch.inputs)
    row = maps[(maps.jet == 2) & (maps.layer == 1) & (maps["head"] == 1)].iloc[0]
    for name, whole in (("weights", seen.weights[1]), ("qk", seen.qk[1]), ("bias", seen.bias)):
        kept = np.asarray(row[name], np.float32).reshape(row.n, row.n)
        assert np.allclose(kept, whole[0, 1], rtol=2e-3, atol=1e-3), name
    of_jet = particles[particles.jet == 2]
    assert of_jet.particle.tolist() == list(range(row.n))
    assert (np.diff(of_jet.pt) <= 0).all()
    px, py = batch.inputs[1][0, :2].numpy()
    assert np.allclose(of_jet.pt, np.hypot(px, py))
    assert np.allclose(of_jet.deta, batch.inputs[0][0, 5])


def test_a_residual_above_the_bound_leaves_no_file(model, jet_table, tmp_path):
    outputs = {name: tmp_path / f"{name}.parquet" for name in TABLES}
    model.blocks[1].attention.register_forward_hook(lambda module, given, output: output + 2e-4)
    with pytest.raises(ArithmeticError, match=r"blocks\.1: .* by 2\.00e-04, more than 1e-04"):
        record_dataset(model, jet_table, SETTINGS, outputs)
    assert not list(tmp_path.iterdir())


def test_equal_content_gives_equal_bytes(recorded, model, jet_table, tmp_path):
    outputs = {name: tmp_path / f"again_{name}.parquet" for name in TABLES}
    record_dataset(model, jet_table, SETTINGS, outputs)
    for name, path in outputs.items():
        assert path.read_bytes() == (tmp_path / f"{name}.parquet").read_bytes(), name
        assert pq.read_schema(path).equals(TABLES[name])
