from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from softjet.figures import joined
from softjet.figures.joined import draw_joined, losses
from softjet.figures.joined_findings import joined_findings, what_went_first

KEEPS = (0.7, 0.5, 0.3)
HALF = 0.02


def row(quantity, detail="", layer=-1, head=-1, value=0.9, dense=1.0, q=0.001, n=400):
    """A row whose loss and change have intervals of +- HALF."""
    change, loss = value - dense, 1 - value / dense
    ends = {"low": change - HALF, "high": change + HALF, "loss_low": loss - HALF, "loss_high": loss + HALF}
    names = {"quantity": quantity, "detail": detail, "layer": layer, "head": head}
    return names | {"value": value, "dense": dense, "change": change, "loss": loss, "q": q, "n": n} | ends


def at_keep(keep, lost):
    """Rows of one keep ratio; `lost` says what share of a quantity is gone."""
    rows = [row("above", "0.5"), row("above", "0.8", value=0.1 * (1 - lost["binary"]), dense=0.1)]
    rows += [row("effective_keys", value=8.0, dense=10.0), row("agreement_by_draws", value=0.2, dense=0.2)]
    rows += [row("agreement", value=0.8 * (1 - lost["agreement"]), dense=0.8)]
    rows += [row("probe_token_within", name, value=0.5 * (1 - lost[name]), dense=0.5) for name in PROBED]
    rows += [row("agreement", layer=layer, value=0.6 + 0.1 * layer, dense=0.8) for layer in (0, 1)]
    rows += [row("above", "0.8", layer=layer) for layer in (0, 1)]
    for matrix, layer, head in product(("query", "key", "value", "output"), (0, 1, 2), (0, 1)):
        share = 0.1 if (matrix, layer, head) == ("key", 1, 0) else 0.5
        rows.append(row("head_effective_rank", matrix, layer, head, 10 * share, 10.0, np.nan, 0))
    for one in rows:
        one["q"] = 0.8 if one["loss"] < HALF else one["q"]
    about = {
        "run": f"soft-threshold-{keep}",
        "method": "soft-threshold",
        "keep": keep,
        "seed": -1,
        "seeds": 1,
    }
    return pd.DataFrame(rows).assign(**about)


PROBED = ("tau21", "tau32", "ln_sdmass", "d2")
NOTHING = dict.fromkeys((*PROBED, "binary", "agreement"), 0.0)


def compressed(by_keep):
    return pd.concat([at_keep(keep, NOTHING | lost) for keep, lost in by_keep.items()], ignore_index=True)


def comparison(keeps=KEEPS, accuracy=0.0, rejection=1.0):
    """Accuracy changes by a difference, a rejection by a factor; a second one is not measured."""
    rows = []
    for keep in keeps:
        known = {"method": "soft-threshold", "keep": keep, "against": "dense", "better": "higher", "n": 9000}
        rows += [
            known | {"metric": "accuracy", "change_is": "difference", "reference": 0.8, "value": 0.8}
            | {"change": accuracy, "low": accuracy - 0.004, "high": accuracy + 0.004},
            known | {"metric": "rejection_50 Hbb", "change_is": "ratio", "reference": 100, "value": 100}
            | {"change": rejection, "low": rejection - 0.03, "high": rejection + 0.03},
            known | {"metric": "auc", "change_is": "difference", "reference": 0.9, "value": 0.8}
            | {"change": -0.1, "low": -0.1, "high": -0.1},
            known | {"metric": "rejection_99.5 Tbl", "change_is": "ratio"}
            | dict.fromkeys(("reference", "value", "change", "low", "high"), np.nan),
        ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def figures(monkeypatch):
    """Figures, kept open instead of written."""
    kept = []
    monkeypatch.setattr(joined, "save_figure", lambda figure, target: kept.append(figure))
    yield kept
    plt.close("all")


def test_losses_of_differences_ratios_and_shares_are_on_one_scale():
    table = losses(compressed({0.5: {"d2": 0.2}}), comparison([0.5], -0.08, 0.9)).set_index("name")
    assert set(table.index) == {*NOTHING, "accuracy", "Hbb rejection at 50 %"}
    for name, loss in {"d2": 0.2, "accuracy": 0.1, "Hbb rejection at 50 %": 0.1, "tau21": 0.0}.items():
        assert table.loss[name] == pytest.approx(loss)
    assert (table.low["accuracy"], table.high["accuracy"]) == pytest.approx((0.095, 0.105))
    assert (table.low["Hbb rejection at 50 %"], table.high["Hbb rejection at 50 %"]) == pytest.approx(
        (0.07, 0.13)
    )
    assert set(table.index[table.told]) == {"d2", "accuracy", "Hbb rejection at 50 %"}
    assert table.value["binary"] == pytest.approx(0.1)


def test_a_loss_that_many_tests_explain_is_not_told():
    table = compressed({0.5: {"d2": 0.2}})
    table["q"] = 0.2
    assert not losses(table, comparison([0.5])).told.any()


def test_the_first_to_go_is_what_is_lost_at_the_largest_keep():
    by_keep = {0.7: {"tau32": 0.3}, 0.5: {"tau32": 0.35, "d2": 0.9}, 0.3: {"tau32": 0.4, "d2": 0.95}}
    text = what_went_first(compressed(by_keep), comparison())
    assert text.startswith(
        "At keep 0.7, where the first losses are told from chance, one thing is lost: tau_32 30.0"
    )
    assert "Then go D2 (at 0.5)." in text
    assert "Never told as lost down to 0.3: accuracy, Hbb rejection at 50 %, tau_21" in text
    other = what_went_first(compressed({0.7: {"d2": 0.3}}), comparison([0.7]))
    assert "lost: D2" in other
    assert "an order of size, not of time" in other


def test_what_is_lost_most_is_named_only_where_intervals_part():
    apart = what_went_first(compressed({0.5: {"tau32": 0.5, "d2": 0.3}}), comparison([0.5]))
    assert "tau_32 goes furthest, its interval above all others" in apart
    alike = what_went_first(compressed({0.5: {"tau32": 0.5, "d2": 0.48, "tau21": 0.1}}), comparison([0.5]))
    assert "which of tau_32 and D2 is lost most cannot be told" in alike


def test_nothing_is_said_to_stand_above_an_interval_that_is_not_told():
    table = compressed({0.5: {"tau32": 0.5, "d2": 0.3, "tau21": 0.3}})
    hardly_measured = table.detail == "tau21"
    table.loc[hardly_measured, ["q", "loss_high"]] = [0.2, 0.9]
    text = what_went_first(table, comparison([0.5]))
    assert "tau_32 goes furthest of those that are told: tau_32 50.0 [48.0, 52.0] %, D2 30.0" in text
    assert "above all others" not in text
    table.loc[hardly_measured, "loss_high"] = 0.4
    assert "its interval above all others" in what_went_first(table, comparison([0.5]))


def test_nothing_lost_is_said():
    text = what_went_first(compressed({0.7: {}, 0.5: {}}), comparison([0.7, 0.5]))
    assert "cannot be told" in text
    assert "(0.7 and 0.5)" in text
    assert "any of 8 quantities" in text
    assert "400 test jets" in text


def test_sentences_follow_the_table():
    table = compressed({0.5: {"agreement": 0.25}})
    _, keys, sharp, heads, tests = joined_findings(table, comparison([0.5]))
    assert "60.0 % of queries is on the key of the dense model, fewer than" in keys
    assert "(80.0 %; difference -20.0 [-22.0, -18.0] points)" in keys
    assert "Least agree queries of layer 0 (60.0 %), most those of layer 1 (70.0 %)" in keys
    assert "becomes sharper: the effective number of keys changes by -2.00" in sharp
    assert "the key of head 0 in layer 1 (1.0 of 10.0)" in heads
    assert "query 50 %" in heads
    assert "one training of each model" in tests
    same = compressed({0.5: {}})
    same.loc[same.quantity == "effective_keys", ["low", "high"]] = [-1.0, 1.0]
    _, keys, sharp, *_ = joined_findings(same, comparison([0.5]))
    assert "no fewer, as far as these jets tell, than" in keys
    assert "as sharp as before" in sharp


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (1, "between the dense model and the one that its further training started from (80.0 %"),
        (3, "between dense models of two seeds (80.0 %"),
    ],
)
def test_agreement_is_set_beside_the_dense_models_that_there_are(seeds, said):
    table = compressed({0.5: {"agreement": 0.25}}).assign(seeds=seeds)
    _, keys, *_ = joined_findings(table, comparison([0.5]))
    assert f"fewer than {said}" in keys


@pytest.mark.parametrize(
    ("method", "words"),
    [("whitened-soft-threshold", "by whitened soft threshold"), ("learned-mask", "by learned mask")],
)
def test_any_method_that_learns_ranks_has_its_figure_and_sentences(figures, method, words):
    table, answers = compressed({0.7: {}, 0.5: {"agreement": 0.25}}), comparison([0.7, 0.5])
    plain = list(joined_findings(table, answers))
    other = table.assign(method=method)
    assert list(joined_findings(other, answers.assign(method=method))) == plain
    draw_joined(other, answers.assign(method=method), "joined.png")
    assert words in figures[-1].get_suptitle()


def test_soft_thresholds_go_before_other_methods_and_are_not_mixed_with_them():
    table, answers = compressed({0.5: {"d2": 0.2}}), comparison([0.5])
    others = [compressed({0.3: {"tau21": 0.9}}).assign(method=m) for m in ("whitened-soft-threshold", "svd")]
    mixed = losses(pd.concat([*others, table]), answers)
    pd.testing.assert_frame_equal(mixed, losses(table, answers))


def test_markers_stand_at_their_losses_and_are_filled_where_told(figures):
    by_keep = {0.7: {}, 0.5: {"d2": 0.2}, 0.3: {"d2": 0.4}}
    draw_joined(compressed(by_keep), comparison(), "joined.png")
    panel = next(axes for axes in figures[-1].axes if axes.get_xlabel().startswith("lost"))
    rows = [text.get_text() for text in panel.get_yticklabels()]
    assert rows[0] == "accuracy"
    assert len(rows) == 8
    place = next(i for i, text in enumerate(rows) if "D_2" in text)
    markers = [line for line in panel.lines if line.get_marker() in list("os^") and len(line.get_xdata())]
    assert len(markers) == 3 * 8
    own = [line for line in markers if abs(line.get_ydata()[0] - place) < 0.5]
    assert [round(line.get_xdata()[0], 6) for line in own] == [0, 20, 40]
    assert [line.get_marker() for line in own] == ["o", "s", "^"]
    filled = [line for line in markers if line.get_markerfacecolor() != "white"]
    assert filled == own[1:]
    bars = [tuple(np.round(line.get_xdata(), 6)) for line in panel.lines if len(line.get_xdata()) == 2]
    assert (18, 22) in bars
    assert panel.get_xlim() == pytest.approx((-52, 52))


def test_maps_hold_the_share_of_the_smallest_keep(figures):
    table = compressed({0.7: {}, 0.3: {}})
    key = (table.quantity == "head_effective_rank") & (table.detail == "key") & (table.keep == 0.3)
    table.loc[key & (table.layer == 2) & (table["head"] == 1), "value"] = 2.0
    draw_joined(table, comparison([0.7, 0.3]), "joined.png")
    panel = next(axes for axes in figures[-1].axes if axes.get_title() == "key")
    grid = panel.images[0].get_array()
    assert grid.shape == (3, 2)
    assert grid[2, 1] == pytest.approx(0.2)
    assert grid[1, 0] == pytest.approx(0.1)
    assert [text.get_text() for text in panel.get_yticklabels()] == ["0", "1", "c0"]
