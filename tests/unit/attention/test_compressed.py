from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from softjet.attention.compressed import compare_attention, in_common, read_states, sharpness
from softjet.attention.reading import JetReader
from softjet.config.joined import Joined
from softjet.part.model import ParticleTransformer

SETTINGS = Joined(batch_size=8, thresholds=(0.3, 0.5))
PAIR = ("other", "one")


@pytest.fixture
def other(model):
    """A network of the same shape and other weights."""
    torch.manual_seed(9)
    return ParticleTransformer(model.config).eval()


@pytest.fixture
def path(jet_table, tmp_path):
    pq.write_table(jet_table, tmp_path / "jets.parquet")
    return tmp_path / "jets.parquet"


def reader(path, model, batch_size=8):
    return JetReader([path], 30, 1, model.config, batch_size)


def compared(model, other, batches):
    return compare_attention({"one": model, "other": other}, [PAIR], batches, SETTINGS)


class Filled:
    """A reader whose padding holds something else than zero."""

    def __init__(self, inner):
        self.inner, self.n_jets = inner, inner.n_jets

    def __iter__(self):
        for jets in self.inner:
            yield replace(
                jets,
                features=jets.features.masked_fill(~jets.mask, 3.0),
                vectors=jets.vectors.masked_fill(~jets.mask, 7.0),
            )


def test_sums_over_queries_are_those_of_weights_known_by_hand():
    real = torch.tensor([[True, True, True, False]])
    weights = torch.zeros(1, 2, 4, 4)
    weights[0, 0, :3, :3] = torch.tensor([[0.6, 0.4, 0], [0, 1, 0], [0.5, 0.25, 0.25]])
    weights[0, 1, :3, :3] = 1 / 3
    found = sharpness([weights], real, (0.5, 0.9))[0, :, 0]
    assert found[:2].tolist() == [[2, 0], [1, 0]]
    spread = [-(0.6 * np.log(0.6) + 0.4 * np.log(0.4)), 0, 1.5 * np.log(2)]
    assert np.allclose(found[2], [np.exp(spread).sum(), 9])


def test_agreement_counts_equal_keys_and_draws_are_products_of_weights():
    real = torch.tensor([[True, True, False]])
    one, other = torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3)
    one[0, 0, :2, :2] = torch.tensor([[0.8, 0.2], [0.3, 0.7]])
    other[0, 0, :2, :2] = torch.tensor([[0.6, 0.4], [0.9, 0.1]])
    agreed, drawn = in_common([one], [other], real)[0, :, 0, 0].tolist()
    assert agreed == 1
    assert drawn == pytest.approx(0.8 * 0.6 + 0.2 * 0.4 + 0.3 * 0.9 + 0.7 * 0.1)


def test_a_model_agrees_with_itself_on_every_query(model, path):
    found = compared(model, model, reader(path, model))
    agreed = found.common[PAIR][:, 0]
    assert (agreed == found.n[:, None, None]).all()
    assert np.array_equal(found.sharpness["one"], found.sharpness["other"])
    drawn = found.common[PAIR][:, 1]
    assert (drawn < agreed)[found.n > 1].all()


def test_other_weights_agree_less(model, other, path):
    found = compared(model, other, reader(path, model))
    assert found.common[PAIR][:, 0].sum() < 0.9 * 6 * found.n.sum()


def test_padding_enters_nothing(model, other, path):
    before = compared(model, other, reader(path, model))
    after = compared(model, other, Filled(reader(path, model)))
    for name in ("states", "sharpness", "common"):
        for key, values in getattr(before, name).items():
            assert np.array_equal(values, getattr(after, name)[key]), name


def test_batches_do_not_matter(model, other, path):
    small, large = (compared(model, other, reader(path, model, size)) for size in (4, 30))
    order = [np.argsort(sample.key) for sample in (small, large)]
    for name in ("sharpness", "common"):
        for key in getattr(small, name):
            a, b = (getattr(s, name)[key][rows] for s, rows in zip((small, large), order, strict=True))
            assert np.allclose(a, b, atol=1e-3), name
    assert np.array_equal(small.n[order[0]], large.n[order[1]])


def test_states_alone_are_those_read_with_attention(model, other, path):
    whole = compared(model, other, reader(path, model))
    states = read_states({"one": model, "other": other}, reader(path, model))
    assert np.array_equal(whole.key, states.key)
    for name in ("one", "other"):
        assert np.allclose(whole.states[name], states.states[name], atol=1e-6)
    assert states.states["one"].shape == (30, 5, 16)


def test_a_model_in_training_is_read_in_evaluation_mode(model, path):
    before = read_states({"one": model}, reader(path, model)).states["one"]
    model.train()
    assert np.array_equal(before, read_states({"one": model}, reader(path, model)).states["one"])


def test_a_residual_above_the_bound_stops(model, path):
    strict = SETTINGS.model_copy(update={"residual": -1.0})
    with pytest.raises(ArithmeticError, match="blocks"):
        compare_attention({"one": model}, [], reader(path, model), strict)
