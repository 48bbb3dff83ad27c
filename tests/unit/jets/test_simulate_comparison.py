"""The comparison of simulated with reference jets, on made-up jets of known difference."""

import awkward as ak
import numpy as np
import pytest

from softjet.figures.simulation import compare, draw_comparison, observables
from softjet.jets.schema import CLASSES


def jets(n, particles, scale, label, seed):
    """Jets of `particles` particles on average, with exponential pT of mean `scale`."""
    random = np.random.default_rng(seed)
    counts = random.poisson(particles, n) + 2
    phi = random.normal(0, 0.3, counts.sum())
    pt = random.exponential(scale, counts.sum())
    pz = random.normal(0, 1, counts.sum())
    columns = {
        "part_px": pt * np.cos(phi),
        "part_py": pt * np.sin(phi),
        "part_pz": pz,
        "part_energy": np.hypot(pt, pz),
    }
    lists = {name: ak.unflatten(column, counts) for name, column in columns.items()}
    return ak.Array(lists | {"label": np.full(n, label)})


def test_observables_by_hand():
    pair = {
        "part_px": ak.Array([[3.0, 3.0], [1.0]]),
        "part_py": ak.Array([[4.0, -4.0], [0.0]]),
        "part_pz": ak.Array([[0.0, 0.0], [0.0]]),
        "part_energy": ak.Array([[5.0, 5.0], [1.0]]),
        "label": np.array([2, 3]),
    }
    found = observables(pair, 2)
    assert found.multiplicity.tolist() == [2]
    assert found.mass == pytest.approx([8.0])
    assert found.constituent_pt.to_list() == [[5.0, 5.0]]
    assert len(observables(pair).mass) == 2


def test_jets_of_one_kind_agree_and_of_two_differ():
    reference = jets(200, 30, 10, 1, seed=1)
    same = compare(jets(300, 30, 10, 1, seed=2), reference).iloc[0]
    assert same["class"] == CLASSES[1]
    assert (same.n_simulated, same.n_reference) == (300, 200)
    assert same.ratio_low < 1 < same.ratio_high
    assert same.mass_p > 0.01
    assert same.pt_p > 0.01
    other = compare(jets(300, 40, 14, 1, seed=2), reference).iloc[0]
    assert other.ratio == pytest.approx(42 / 32, abs=0.03)
    assert other.simulated_low < other.simulated < other.simulated_high
    assert other.mass_p < 1e-6
    assert other.pt_p < 0.01
    assert other.pt_ks == pytest.approx(
        np.max(np.exp(-np.arange(200) / 14) - np.exp(-np.arange(200) / 10)), abs=0.02
    )


def test_particles_that_come_in_clumps_are_not_taken_for_independent():
    """Jets whose particles all have one pT: a formula for independent particles would see a difference."""
    p_values = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        sides = []
        for n in (40, 30):
            pt = np.repeat(random.exponential(10, n), 30)
            lists = {
                f"part_{axis}": ak.unflatten(pt * factor, 30)
                for axis, factor in (("px", 1), ("py", 0), ("pz", 0), ("energy", 1))
            }
            sides.append(ak.Array(lists | {"label": np.zeros(n, dtype=int)}))
        p_values.append(compare(*sides).pt_p[0])
    assert np.sum(np.array(p_values) < 0.05) <= 4


def test_all_classes_are_mixed_as_in_the_reference():
    simulated = ak.concatenate([jets(300, 20, 10, 0, 1), jets(100, 50, 10, 8, 2)])
    reference = ak.concatenate([jets(50, 20, 10, 0, 3), jets(150, 50, 10, 8, 4)])
    table = compare(simulated, reference).set_index("class")
    parts = table.loc[["QCD", "Tbqq"]]
    assert table.loc["all", "simulated"] == pytest.approx((parts.simulated * [0.25, 0.75]).sum())
    assert table.loc["all", "reference"] == pytest.approx(np.mean(ak.num(reference.part_px)))
    assert table.loc["all", "ratio_low"] < 1 < table.loc["all", "ratio_high"]


def test_drawing(tmp_path):
    sides = [
        ak.concatenate([jets(60, 20, 10, label, seed + label) for label in (0, 1, 7, 8)]) for seed in (1, 21)
    ]
    draw_comparison(*sides, tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").stat().st_size > 10_000
