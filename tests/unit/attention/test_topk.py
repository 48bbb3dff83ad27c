import numpy as np
import pandas as pd
import pytest
import torch

from softjet.attention.recording import record
from softjet.attention.topk import ALL, keep_largest, middle_jets, quality, times, with_top_k
from softjet.config.interventions import TopK
from softjet.part.evaluate import metrics_table
from softjet.part.prediction import predict

SETTINGS = TopK(keep=(1, 3), jets=10, samples=5)
CLASSES = [f"class {i}" for i in range(10)]
JETS, PARTICLES = 60, 9


@pytest.fixture
def inputs(jets_of):
    lengths = np.random.default_rng(2).integers(2, PARTICLES + 1, JETS)
    return jets_of(lengths, PARTICLES)[0]


@pytest.fixture
def label():
    return np.arange(JETS) % 10


def test_the_k_largest_are_kept_in_proportion():
    weights = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.7, 0.0, 0.3, 0.0]])
    expected = torch.tensor([[0, 4 / 7, 0, 3 / 7], [0.7, 0, 0.3, 0]])
    assert torch.allclose(keep_largest(weights, 2), expected)
    assert torch.equal(keep_largest(weights, 4), weights)
    assert torch.equal(keep_largest(weights, 9), weights)


def test_equal_weights_do_not_make_more_than_k():
    assert (keep_largest(torch.full((3, 8), 1 / 8), 2) > 0).sum(-1).tolist() == [2, 2, 2]


@pytest.mark.parametrize("k", [1, 3])
def test_in_the_context_queries_see_k_keys(model, inputs, k):
    recording = record(model, *inputs)
    with with_top_k(model, k), torch.inference_mode():
        seen = []
        edit = model.blocks[1].attention.edit
        model.blocks[1].attention.edit = lambda weights: seen.append(edit(weights)) or seen[-1]
        model(*inputs)
    real = inputs[2][:, 0]
    kept = (seen[0] > 0).sum(-1).transpose(1, 2)[real]
    assert (kept == torch.minimum(torch.tensor(k), real.sum(1)).repeat_interleave(real.sum(1))[:, None]).all()
    # and afterwards all of them again
    assert torch.equal(record(model, *inputs).weights[1], recording.weights[1])


def test_as_many_keys_as_particles_change_nothing(model, inputs):
    dense = predict(model, *inputs)
    for k in (ALL, PARTICLES, 100):
        with with_top_k(model, k):
            assert torch.equal(predict(model, *inputs), dense)
    with with_top_k(model, 1):
        assert (predict(model, *inputs) - dense).abs().max() > 1e-3


def test_the_class_token_is_cut_only_on_request(model, inputs):
    weights = []
    for class_blocks in (False, True):
        with with_top_k(model, 2, class_blocks):
            weights.append([block.attention.edit is not None for block in model.class_blocks])
    assert weights == [[False, False], [True, True]]
    assert all(block.attention.edit is None for block in [*model.blocks, *model.class_blocks])


def test_quality_is_against_all_weights_on_the_same_jets(model, inputs, label):
    table = quality(dict.fromkeys((ALL, 1, 3), model), inputs, label, CLASSES, SETTINGS)
    assert set(table.k) == {1, 3}
    rows = table[table.metric == "accuracy"].set_index("k")
    dense = (predict(model, *inputs).argmax(1).numpy() == label).mean()
    assert (rows.dense - dense).abs().max() < 1e-9
    with with_top_k(model, 1):
        cut = (predict(model, *inputs).argmax(1).numpy() == label).mean()
    assert rows.topk[1] == pytest.approx(cut)
    assert ((rows.low <= rows.change) & (rows.change <= rows.high)).all()


def test_rejections_are_measured_with_enough_background(model, inputs, label):
    few = quality(dict.fromkeys((ALL, 1), model), inputs, label, ("QCD", *CLASSES[1:]), SETTINGS)
    rows = few[few.metric.str.startswith("rejection")]
    assert len(rows) == 9
    assert rows[["dense", "topk", "change", "low", "high"]].isna().all(axis=None)
    assert rows.note.str.contains("not measured").all()
    # Six jets a class four times, and those of the background again and again.
    places = np.concatenate([np.tile(np.arange(JETS), 4), np.tile(np.flatnonzero(label == 0), 22)])
    many = tuple(tensor[places] for tensor in inputs)
    table = quality(dict.fromkeys((ALL, 1), model), many, label[places], ("QCD", *CLASSES[1:]), SETTINGS)
    row = table[table.metric.str.startswith("rejection") & table.note.eq("")].iloc[0]
    assert row.n == 156
    assert row.dense_low <= row.dense <= row.dense_high
    assert row.topk_low <= row.topk <= row.topk_high
    assert row.change == pytest.approx(row.topk / row.dense)
    with with_top_k(model, 1):
        cut = predict(model, *many).numpy()
    expected = metrics_table(cut, label[places], ("QCD", *CLASSES[1:]), SETTINGS.seed)
    expected = expected[(expected.metric == row.metric) & (expected["class"] == row["class"])].iloc[0]
    assert (row.topk, row.topk_low, row.topk_high) == (expected.value, expected.low, expected.high)


def test_each_k_may_have_its_own_network(model, inputs, label):
    other = type(model)(model.config).eval()
    table = quality({ALL: model, 1: other}, inputs, label, CLASSES, SETTINGS)
    with with_top_k(other, 1):
        cut = (predict(other, *inputs).argmax(1).numpy() == label).mean()
    assert table[table.metric == "accuracy"].topk.iloc[0] == pytest.approx(cut)


def test_times_are_of_both_in_turn(model, inputs, monkeypatch):
    calls = []

    def measure(a, b, samples, warmup, names, **setting):
        for call in (a, b):
            call()
        calls.append((names, samples, setting))
        cells = {"runtime": "torch", "device": "cpu", "threads": 1, "warmup": warmup, **setting}
        return pd.DataFrame(
            {"variant": names * 6, "order": range(12), "nanoseconds": [3_000_000, 2_000_000] * 6, **cells}
        )

    monkeypatch.setattr("softjet.attention.topk.measure_pair", measure)
    table = times(model, inputs, SETTINGS)
    assert calls == [(("topk", "dense"), 5, {"batch": JETS, "length": PARTICLES})] * 2
    assert list(table.k) == [1, 3]
    assert table.change.tolist() == [1.5, 1.5]
    assert table.topk.tolist() == [3.0, 3.0]
    assert table.dense.tolist() == [2.0, 2.0]


def test_middle_jets_are_of_median_multiplicity(inputs):
    mask = middle_jets(inputs, 11)[2]
    n = inputs[2].sum((1, 2))
    chosen = mask.sum((1, 2))
    assert len(chosen) == 11
    assert chosen.min() <= n.median() <= chosen.max()
    assert mask.shape[-1] == chosen.max()
    assert len(middle_jets(inputs, 1000)[2]) == JETS
