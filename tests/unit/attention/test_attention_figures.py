import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from softjet.figures import attention
from softjet.figures.attention import (
    draw_choices,
    draw_heads,
    draw_maps,
    draw_multiplicity,
    draw_pairs,
    draw_parts,
    draw_shares,
    draw_weights,
    random_weights,
)
from softjet.jets.schema import CLASSES


@pytest.fixture
def axes(monkeypatch):
    """The figure's panels, kept open instead of written."""
    kept = []
    monkeypatch.setattr(attention, "save_figure", lambda figure, target: kept.append(figure))
    yield lambda: kept[-1].axes
    plt.close("all")


STATISTICS = pd.DataFrame(
    {
        "statistic": statistic, "threshold": threshold, "layer": layer, "head": head, "label": -1,
        "n_low": -1,
        "value": 0.1 * (layer + 2) + 0.01 * head, "low": 0.05, "high": 0.6, "null": 0.02, "null_low": 0.01,
        "null_high": 0.03, "untrained": 0.0, "untrained_low": 0.0, "untrained_high": 0.0,
        "n_jets": 50, "denominator": 9000.0,
    }
    for statistic in ("above", "above_other")
    for threshold in (0.5, 0.9)
    for layer in (-1, 0, 1)
    for head in ((-1,) if layer == -1 else (-1, 0, 1, 2))
)  # fmt: skip

WEIGHTS = np.array([[0.0, 0.9, 0.1], [0.3, 0.5, 0.2], [0.05, 0.05, 0.9]])
MAPS = pd.DataFrame(
    {
        "jet": jet,
        "label": 8,
        "layer": layer,
        "head": head,
        "n": 3,
        "weights": list(weights.ravel()),
        "qk": list(np.log(weights + 1e-3).ravel()),
        "bias": [0.5] * 9,
    }
    for jet in (0, 1)
    for layer in (0, 1)
    for head, weights in enumerate([np.full((3, 3), 1 / 3), WEIGHTS])
)
PARTICLES = pd.DataFrame(
    {
        "jet": np.repeat([0, 1], 3), "label": 8, "particle": [0, 1, 2] * 2, "deta": [0, 0.1, 0.2] * 2,
        "dphi": [0.0, 0.3, 0.1] * 2, "pt": [40.0, 20, 10] * 2,
        "identity": [0, 2, -1] * 2, "subjet": [0, 0, 1] * 2,
    }
)  # fmt: skip


def test_shares_stand_beside_both_nulls_with_intervals(axes):
    of_class = STATISTICS[STATISTICS.layer == -1]
    classes = [of_class.assign(label=label, denominator=n) for label, n in ((0, 7000.0), (4, 400.0))]
    draw_shares(pd.concat([STATISTICS, *classes]), "shares.png")
    panels = axes()
    assert [panel.get_title() for panel in panels] == [
        f"more than {t} on {which} particle" for which in ("one", "another") for t in (0.5, 0.9)
    ]
    heights = [list(bars.lines[0].get_ydata()) for bars in panels[0].containers]
    assert np.allclose(heights, [[19, 29], [2, 2], [0, 0]])
    assert "50 test jets, 7,400 queries" in panels[0].figure.get_suptitle()


def test_heat_map_has_layers_up_and_heads_across(axes):
    draw_heads(STATISTICS, "heads.png", 0.9)
    panel = axes()[0]
    shown = panel.images[0].get_array()
    assert shown.shape == (2, 3)
    assert shown[1, 2] == pytest.approx(32)
    assert {text.get_text() for text in panel.texts} == {"20", "21", "22", "30", "31", "32"}


def test_choices_have_a_panel_each(axes):
    rows = STATISTICS[(STATISTICS.statistic == "above") & (STATISTICS.threshold == 0.5)]
    kinds = [
        rows.assign(statistic=n, value=rows.value + v) for n, v in (("self", 0), ("mutual", 1), ("hub", 2))
    ]
    draw_choices(pd.concat([rows, *kinds]), "choices.png")
    trained = [list(panel.containers[0].lines[0].get_ydata()) for panel in axes()]
    assert np.allclose(trained, [[19, 29], [119, 129], [219, 229]])


def test_multiplicity_is_drawn_bin_by_bin(axes):
    rows = STATISTICS[(STATISTICS.statistic == "above") & (STATISTICS.layer == -1)]
    bins = [rows.assign(n_low=n, value=v) for n, v in ((1, 0.3), (25, 0.2), (55, 0.1))]
    draw_multiplicity(pd.concat([rows, *bins[::-1]]), "multiplicity.png")
    panel = axes()[1]
    assert np.allclose(panel.containers[0].lines[0].get_ydata(), [30, 20, 10])
    names = [label.get_text() for label in panel.get_xticklabels()]
    assert names == ["1 to 24", "25 to 54", "55 or more"]


def test_parts_stand_beside_the_untrained_network(axes):
    rows = STATISTICS[(STATISTICS.statistic == "above") & (STATISTICS.threshold == 0.5)]
    names = [f"{what}_{part}" for what in ("same_key", "largest", "variance") for part in ("qk", "bias")]
    shift = {name: 0.1 * place for place, name in enumerate(names)}
    table = pd.concat([rows.assign(statistic=n, value=rows.value + shift[n]) for n in names])
    draw_parts(table, "parts.png")
    panels = axes()
    assert len(panels) == 3
    for place, panel in enumerate(panels):
        heights = [list(bars.lines[0].get_ydata()) for bars in panel.containers]
        first = 19 + 20 * place
        assert np.allclose(heights, [[first, first + 10], [0, 0], [first + 10, first + 20], [0, 0]])


def test_maps_show_queries_down_and_keys_across(axes):
    draw_maps(MAPS, 1, "maps.png")
    panels = axes()
    assert np.allclose(panels[1].images[0].get_array(), WEIGHTS)
    assert panels[0].figure.get_suptitle() == "Tbqq jet, 3 particles, layer 1"


def test_a_line_for_each_ordered_pair_above_the_cut(axes):
    draw_pairs(MAPS, PARTICLES, [0], "pairs.png", above=0.15)
    panel = axes()[0]
    lines = panel.collections[0]
    # 0 -> 1 and 1 -> 0 within the first subjet, 1 -> 2 between subjets; no line from a particle to itself
    ends = [path.vertices[[0, -1]].tolist() for path in lines.get_paths()]
    assert np.allclose(ends, [[[0, 0], [0.1, 0.3]], [[0.1, 0.3], [0, 0]], [[0.1, 0.3], [0.2, 0.1]]])
    assert np.allclose(lines.get_linewidths(), 0.4 + 2.2 * np.array([0.9, 0.3, 0.2]))
    dashes = [pattern for _, pattern in lines.get_linestyles()]
    assert [pattern is None for pattern in dashes] == [True, True, False]
    assert panel.figure.get_suptitle() == "layer 1, head 1"


def test_every_particle_is_drawn_with_area_by_pt(axes):
    draw_pairs(MAPS, PARTICLES, [1], "pairs.png")
    dots = axes()[0].collections[1:]
    assert len(axes()[1].collections) == len(axes()[0].collections)
    found = sorted((tuple(d.get_offsets()[0]), d.get_sizes()[0]) for d in dots)
    assert [place for place, _ in found] == [(0, 0), (0.1, 0.3), (0.2, 0.1)]
    assert np.allclose([size for _, size in found], 8 + 220 * np.array([1, 0.5, 0.25]))


def test_control_below_a_jet_has_the_spread_of_its_rows(axes):
    generator = np.random.default_rng(1)
    n = 30
    row = {"n": n, "qk": generator.normal(0, 2, n * n), "bias": generator.normal(0, 1, n * n)}
    control = random_weights(row, generator)
    assert np.allclose(control.sum(1), 1, atol=1e-6)
    logits = np.log(control)
    recorded = (row["qk"] + row["bias"]).reshape(n, n)
    assert np.allclose(logits.std(1), recorded.std(1), rtol=1e-4)
    assert np.abs(logits - recorded).max() > 1
    assert np.array_equal(random_weights({"n": 1, "qk": [3.0], "bias": [1.0]}, generator), [[1.0]])
    draw_pairs(MAPS, PARTICLES, [0, 1], "pairs.png", above=0.15)
    real, _, other, _ = axes()
    assert real.get_title() == f"{CLASSES[8]}, 3 particles, 70 GeV: 3 lines"
    lines = len(other.collections[0].get_paths())
    assert other.get_title() == f"random logits: {lines} lines"
    draw_pairs(MAPS.assign(label=MAPS.jet), PARTICLES, [0, 1], "pairs.png")
    assert [panel.get_title().split(",")[0] for panel in axes()[:2]] == list(CLASSES[:2])


def test_weights_are_shares_of_all_pairs_beside_both_nulls_and_by_layer(axes):
    known = {"statistic": "weight", "head": -1, "label": -1, "n_low": -1, "n_jets": 9, "denominator": 90.0}
    table = pd.DataFrame(
        known
        | {
            "threshold": low, "layer": layer, "value": share + 0.01 * layer, "low": 0.1, "high": 0.9,
            "null": 1 - low, "null_low": 0.0, "null_high": 0.5, "untrained": 0.3, "untrained_low": 0.2,
            "untrained_high": 0.4,
        }
        for layer in (-1, 0, 1)
        for low, share in ((0.5, 0.2), (0.0, 0.8))
    )  # fmt: skip
    of_head = table.assign(head=0, value=0.5)
    of_class = table.assign(label=1, value=0.5, denominator=70.0)
    draw_weights(pd.concat([of_head, table, of_class]), "weights.png")
    left, right = axes()
    assert left.figure.get_suptitle() == "9 test jets, 70 pairs"
    trained, band, null, *_ = left.patches
    assert np.allclose(trained.get_data().values, [0.79, 0.19])
    assert np.allclose(trained.get_data().edges, [0, 0.5, 1])
    assert np.allclose([band.get_data().baseline, band.get_data().values], [[0.1] * 2, [0.9] * 2])
    assert np.allclose(null.get_data().values, [1, 0.5])
    assert [np.round(patch.get_data().values, 2).tolist() for patch in right.patches] == [
        [0.8, 0.2], [0.81, 0.21],
    ]  # fmt: skip
