from dataclasses import replace
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
import torch

from softjet.attention.binary import binary
from softjet.attention.chance import tabulate
from softjet.attention.nulls import random_attention
from softjet.attention.parts import parts
from softjet.attention.reading import Jets
from softjet.attention.stream import Seen, Shared

THRESHOLDS = (0.3, 0.6)


def random_seen(lengths, heads):
    """What would be seen if attention were random logits."""
    size = max(lengths)
    real = torch.from_numpy(np.arange(size) < np.asarray(lengths)[:, None])
    spread = torch.rand(len(lengths), heads, size, generator=torch.Generator().manual_seed(1)) * 3 + 0.5
    # One key has no variance.
    spread *= (real.sum(1) > 1)[:, None, None]
    seeds = [(3, jet) for jet in range(len(lengths))]
    weights = random_attention(spread.square(), real, seeds)
    none = np.zeros(len(lengths), np.int64)
    jets = Jets(
        torch.zeros(len(lengths), 1, size), torch.zeros(len(lengths), 4, size), real[:, None],
        none, none.astype(np.uint64), ("a", "b"), pa.table({}), none,
    )  # fmt: skip
    qk, bias = weights.clamp_min(1e-30).log() * (weights > 0), torch.zeros_like(weights)
    return Seen(0, weights, qk, bias, jets, Shared(bias, jets), lambda: qk)


@pytest.fixture(scope="module")
def random_rows():
    """180 jets, most of them with padding."""
    return random_seen([6, 13, 20] * 60, 6)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_chance_of_every_choice_is_exact(n):
    measure = binary(THRESHOLDS, tabulate(THRESHOLDS, 6, 1, rows=10)).measure
    null = {ratio.name: float(ratio.null[0, 0]) for ratio in measure(random_seen([n, 6], 1))}
    counts = {"self": [], "mutual": [], "hub": []}
    for choice in map(np.array, product(range(n), repeat=n)):
        itself = choice == np.arange(n)
        counts["self"].append(itself.sum())
        counts["mutual"].append(((choice[choice] == np.arange(n)) & ~itself).sum())
        counts["hub"].append(np.bincount(choice).max())
    for name, of_choices in counts.items():
        assert null[name] == pytest.approx(np.mean(of_choices)), name


def test_random_logits_are_what_the_null_says(random_rows):
    ratios = binary(THRESHOLDS, tabulate(THRESHOLDS, 20, 1, rows=20_000)).measure(random_rows)
    assert len(ratios) == 10
    for ratio in ratios:
        per_jet = (ratio.top - ratio.null).sum(1)
        noise = per_jet.std() * len(per_jet) ** 0.5
        scale = 0.005 * float(ratio.top.sum())
        assert abs(float(per_jet.sum())) < 4 * float(noise) + scale, ratio.name
        assert float(ratio.top.sum()) > 0, ratio.name


def test_a_part_that_chooses_blindly_agrees_as_often_as_chance(random_rows):
    shifted = random_rows.weights.roll(1, 1)
    other = torch.where(shifted > 0, shifted.clamp_min(1e-30).log(), 0)
    seen = replace(random_rows, _qk=lambda: other)
    same = next(r for r in parts(THRESHOLDS)["parts"].measure(seen) if r.name == "same_key_qk")
    per_jet = (same.top - same.null).sum(1)
    assert abs(float(per_jet.sum())) < 4 * float(per_jet.std()) * len(per_jet) ** 0.5
    assert float(same.null.sum()) == len(per_jet) * same.null.shape[1]
