import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from softjet.attention import record
from softjet.attention.queries import nulls, query_table, summarise


def table_of(model, inputs, known):
    seen = record(model, *inputs)
    return query_table(seen, nulls(seen, known, seed=1), known)


def test_summary_of_an_attention_made_by_hand():
    weights = torch.tensor(
        [
            [0.0, 1.0, 0.0, 0.0],
            [0.5, 0.25, 0.25, 0.0],
            [0.25, 0.25, 0.5, 0.0],
            [0.0, 0.0, 0.0, 0.0],
        ]
    )[None, None]
    seen = {name: value[0, 0, :3].tolist() for name, value in summarise(weights).items()}
    assert seen["argmax"] == [1, 0, 2]
    assert seen["max"] == [1.0, 0.5, 0.5]
    assert seen["entropy"] == pytest.approx([0, 1.5 * np.log(2), 1.5 * np.log(2)])
    assert seen["self"] == [0.0, 0.25, 0.5]
    assert seen["mutual"] == [True, True, False]


def test_one_row_a_real_query_and_its_two_ends(model, jets):
    inputs, known = jets
    table = table_of(model, inputs, known).to_pandas()
    assert len(table) == known.real.sum() * 3 * 2
    assert not table.duplicated(["jet", "layer", "head", "query"]).any()
    assert (table["argmax"] < table.n).all()
    assert (table.null_argmax < table.n).all()
    for name in ("subjet", "identity"):
        ends = getattr(known, name)
        assert (table[f"{name}_query"] == ends[table.jet, table["query"]]).all()
        assert (table[f"{name}_key"] == ends[table.jet, table["argmax"]]).all()
    assert (table.label == known.label[table.jet]).all()
    alone = table[table.n == 1]
    assert (alone["max"] == 1).all()
    assert (alone["null_max"] == 1).all()
    assert not alone.mutual.any()


def test_parts_of_the_winning_logit(model, jets):
    inputs, known = jets
    seen = record(model, *inputs)
    table = query_table(seen, nulls(seen, known, 1), known).to_pandas()
    row = table[(table.jet == 2) & (table.layer == 1) & (table["head"] == 1) & (table["query"] == 7)].iloc[0]
    logits = seen.qk[1][2, 1, 7] + seen.bias[2, 1, 7]
    assert row["argmax"] == int(logits.argmax())
    assert row.qk == pytest.approx(float(seen.qk[1][2, 1, 7, row["argmax"]]))
    assert row.bias == pytest.approx(float(seen.bias[2, 1, 7, row["argmax"]]))
    assert row.variance == pytest.approx(float(logits.var(correction=0)), rel=1e-5)


def test_equal_jets_and_layers_have_different_nulls(model, jets_of):
    (features, vectors, mask), known = jets_of([10, 10], 10)
    features[1], vectors[1] = features[0], vectors[0]
    random = nulls(record(model, features, vectors, mask), known, seed=1)
    assert torch.equal(random[0].variance[0], random[0].variance[1])
    order = [null.weights[jet].argsort() for null in random for jet in (0, 1)]
    assert all((order[0] == other).float().mean() < 0.3 for other in order[1:])


def test_padding_enters_no_byte_of_the_table(model, jets_of, tmp_path):
    for padding in (0.0, 7.0):
        inputs, known = jets_of([5, 9, 12, 1], 16, padding=padding)
        known.subjet[~known.real], known.identity[~known.real] = int(padding), int(padding)
        pq.write_table(table_of(model, inputs, known), tmp_path / f"{padding}.parquet")
    assert (tmp_path / "0.0.parquet").read_bytes() == (tmp_path / "7.0.parquet").read_bytes()


def test_permuted_particles_permute_the_table(model, jets_of):
    (features, vectors, mask), known = jets_of([10, 10], 10)
    order = np.random.default_rng(3).permutation(10)
    moved = type(known)(known.jet, known.label, known.real, known.subjet[:, order], known.identity[:, order])
    there = table_of(model, (features, vectors, mask), known).to_pandas()
    here = table_of(model, (features[..., order], vectors[..., order], mask), moved).to_pandas()
    here["query"], here["argmax"] = order[here["query"]], order[here["argmax"]]
    keys = ["jet", "layer", "head", "query"]
    there, here = (
        t.drop(columns=[c for c in t if c.startswith("null_")]).sort_values(keys).reset_index(drop=True)
        for t in (there, here)
    )
    for name in there:
        assert np.allclose(there[name], here[name], rtol=1e-3, atol=1e-5), name
