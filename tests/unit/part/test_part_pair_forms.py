"""The pair mass in its published and its stable form."""

import pytest
import torch

from softjet.part.model import ParticleTransformer
from softjet.part.pair_forms import compare_pair_forms
from softjet.part.pairs import dense_pair_features, pair_features, real_pairs

LOG_MASS = 3


def hard_and_close(n_jets=20, n=8, seed=0):
    """Float32 particles up to some hundred GeV, some of them closer than 1e-3, with the mass of a pion."""
    generator = torch.Generator().manual_seed(seed)

    def normal():
        return torch.randn(n_jets, n, generator=generator, dtype=torch.float64)

    pt, spread = (3 + normal()).exp(), 10 ** (-1.5 + normal()).clamp(max=-0.5)
    eta, phi = 1 + spread * normal(), 3 + spread * normal()
    px, py, pz = pt * phi.cos(), pt * phi.sin(), pt * eta.sinh()
    energy = (px**2 + py**2 + pz**2 + 0.1396**2).sqrt()
    return torch.stack((px, py, pz, energy), dim=1).float()


@pytest.fixture
def pairs():
    return real_pairs(torch.ones(20, 8, dtype=torch.bool))


def log_mass(vectors, pairs, mass):
    return pair_features(vectors, pairs, mass)[:, LOG_MASS].double()


def test_stable_form_is_that_of_float64_also_on_the_diagonal(pairs):
    vectors = hard_and_close()
    exact = log_mass(vectors.double(), pairs, "published")
    stable, published = (log_mass(vectors, pairs, mass) for mass in ("stable", "published"))
    torch.testing.assert_close(stable, exact, rtol=0, atol=2e-6)
    assert (published - exact).abs().max() > 0.1
    assert stable.isfinite().all()


def test_stable_form_leaves_the_other_features(pairs):
    vectors = hard_and_close()
    stable, published = (pair_features(vectors, pairs, mass) for mass in ("stable", "published"))
    torch.testing.assert_close(stable[:, :LOG_MASS], published[:, :LOG_MASS], rtol=0, atol=4e-6)
    assert stable.dtype == torch.float32


def test_forms_agree_in_float64(pairs):
    vectors = hard_and_close().double()
    assert torch.equal(log_mass(vectors, pairs, "stable"), log_mass(vectors, pairs, "published"))


@pytest.mark.parametrize("mass", ["published", "stable"])
def test_dense_features_are_those_of_the_pairs(pairs, mass):
    vectors = hard_and_close()
    dense = dense_pair_features(vectors, mass)[pairs.jet, pairs.first, pairs.second]
    torch.testing.assert_close(dense, pair_features(vectors, pairs, mass), rtol=0, atol=4e-6)


def test_model_uses_the_form_of_its_shape(model, jets):
    stable = ParticleTransformer(model.config.model_copy(update={"pair_mass": "stable"})).eval()
    stable.load_state_dict(model.state_dict())
    vectors, mask = hard_and_close(), torch.ones(20, 1, 8, dtype=torch.bool)
    exact = stable.double().pair_bias(vectors.double(), mask)
    error = {
        name: (m.pair_bias(vectors, mask) - exact).abs().max().item()
        for name, m in (("stable", stable.float()), ("published", model))
    }
    assert error["stable"] < 1e-3 * error["published"]


def test_table_compares_both_forms_with_float64(model, jets):
    table = compare_pair_forms(model, jets, every=2).set_index(["form", "against"])
    assert list(table.n) == [32, 32, 32]
    assert (table["median"] <= table["q90"]).all()
    assert (table["q99"] <= table["largest"]).all()
    assert table["decisions"].between(0, 1).all()
    exact = "published, float64"
    assert 0 < table["largest"]["stable, float32", exact] < table["largest"]["published, float32", exact]
