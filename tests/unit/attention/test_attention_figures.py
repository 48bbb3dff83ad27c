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
)


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
    {"jet": jet, "label": 8, "layer": layer, "head": head, "n": 3, "weights": list(weights.ravel())}
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
    draw_shares(STATISTICS, "shares.png")
    panels = axes()
    assert [panel.get_title() for panel in panels] == [
        f"more than {t} on {which} particle" for which in ("one", "another") for t in (0.5, 0.9)
    ]
    heights = [list(bars.lines[0].get_ydata()) for bars in panels[0].containers]
    assert np.allclose(heights, [[19, 29], [2, 2], [0, 0]])
    assert "50 test jets, 9,000 queries" in panels[0].figure.get_suptitle()


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
    found = sorted((tuple(d.get_offsets()[0]), d.get_sizes()[0]) for d in dots)
    assert [place for place, _ in found] == [(0, 0), (0.1, 0.3), (0.2, 0.1)]
    assert np.allclose([size for _, size in found], 8 + 220 * np.array([1, 0.5, 0.25]))


def test_weights_are_shares_of_all_pairs(axes):
    table = pd.DataFrame(
        {
            "layer": [0, 0, 1, 1],
            "low": [0, 0.5] * 2,
            "high": [0.5, 1] * 2,
            "count": [5, 1, 3, 1],
            "null": [6, 0, 4, 0],
        }
    )
    draw_weights(table, table, "weights.png")
    trained, null, _ = axes()[0].patches
    assert trained.get_data().values.tolist() == [0.8, 0.2]
    assert null.get_data().values[0] == 1
    assert np.isnan(null.get_data().values[1])
