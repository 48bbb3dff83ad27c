from itertools import product

import numpy as np
import pytest
import torch

from softjet.attention.chance import is_extreme, most_chosen, tabulate
from softjet.attention.nulls import random_attention
from softjet.attention.queries import summarise

CHANCE = tabulate((0.5, 0.8), 50, seed=1, rows=4000)


def expected(n, variance):
    """What a row of n keys and this variance gives on average, and the standard errors."""
    return [found[0, 0] / n for found in CHANCE.expect(torch.tensor([n]), torch.full((1, 1, n), variance))]


@pytest.mark.parametrize(("n", "spread"), [(7, 0.4), (13, 2.2), (31, 1.3), (44, 3.7), (44, 9.0)])
def test_interpolation_agrees_with_rows_drawn_one_by_one(n, spread):
    jets, heads = 40, max(1, 200 // n)
    real = torch.ones(jets, n, dtype=torch.bool)
    variance = torch.full((jets, heads, n), spread**2)
    weights = random_attention(variance, real, [(5, jet) for jet in range(jets)])
    drawn = summarise(weights)
    keys = drawn["entropy"].exp()
    direct = [
        *((drawn["max"] > t).float() for t in (0.5, 0.8)), is_extreme(drawn["max"]).float(),
        keys, drawn["max"],
    ]  # fmt: skip
    for name, value, error, rows in zip(CHANCE.names, *expected(n, spread**2), direct, strict=True):
        noise = 4 * float(torch.hypot(error, rows.std() / rows.numel() ** 0.5))
        besides = 0.01 * float(rows.mean()) if name == "effective_keys" else 0.01
        assert abs(float(value - rows.mean())) < noise + besides, name


def test_the_ends_of_the_grid_hold():
    one, even = (dict(zip(CHANCE.names, expected(n, 0.0)[0].tolist(), strict=True)) for n in (1, 20))
    assert one == pytest.approx(
        {"above_0.5": 1, "above_0.8": 1, "extreme": 1, "effective_keys": 1, "largest": 1}
    )
    assert even["effective_keys"] == pytest.approx(20, rel=0.01)
    assert even["largest"] == pytest.approx(1 / 20, rel=0.15)
    assert all(expected(20, variance)[0][0] > 0.95 for variance in (1e9, torch.inf))


def test_what_is_expected_of_a_jet_is_the_sum_over_its_queries_and_no_others():
    n, generator = torch.tensor([3, 7, 1]), torch.Generator().manual_seed(2)
    variance = 4 * torch.rand(3, 2, 7, generator=generator)
    for found in CHANCE.expect(n, variance):
        assert found.shape == (3, 2, len(CHANCE.names))
    for jet, head in product(range(3), range(2)):
        size = int(n[jet])
        rows = [expected(size, float(variance[jet, head, query])) for query in range(size)]
        for part, found in enumerate(CHANCE.expect(n, variance)):
            torch.testing.assert_close(found[jet, head], sum(row[part] for row in rows))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_most_chosen_is_exact(n):
    loads = [np.bincount(keys, minlength=n).max() for keys in product(range(n), repeat=n)]
    assert float(most_chosen(8)[n]) == pytest.approx(np.mean(loads))


def test_most_chosen_of_many_agrees_with_draws():
    keys = np.random.default_rng(0).integers(0, 128, (3000, 128))
    loads = [np.bincount(row).max() for row in keys]
    assert float(most_chosen(128)[128]) == pytest.approx(np.mean(loads), abs=0.05)


def test_the_largest_weight_tells_whether_a_row_is_extreme():
    weights = (3 * torch.randn(2000, 12, generator=torch.Generator().manual_seed(0))).softmax(-1)
    weights[:500] = weights[:500] * 0.05 + 0.95 / 12
    between = ((weights >= 0.1) & (weights <= 0.9)).any(-1)
    assert torch.equal(is_extreme(weights.amax(-1)), ~between)
    assert 0 < between.float().mean() < 1


def test_standard_errors_are_those_of_repeated_tables():
    tables = [tabulate((0.5,), 4, seed, rows=300) for seed in range(60)]
    spread = torch.stack([table.values for table in tables]).std(0)
    error = torch.stack([table.errors for table in tables]).mean(0)
    clear = (error > 1e-3) & (spread > 1e-3)
    assert clear.sum() > 20
    assert float((spread / error)[clear].mean()) == pytest.approx(1, abs=0.1)
