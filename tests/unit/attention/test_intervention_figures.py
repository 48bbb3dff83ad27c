import json
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from softjet.figures import interventions
from softjet.figures.chapters.interventions import intervention_parts
from softjet.figures.intervention_findings import intervention_findings, topk_findings
from softjet.figures.interventions import draw_interventions, draw_silenced, draw_topk

EDGES = ("argmax", "between", "within", "patch_same", "patch_other")


def effect(network, intervention, layer, head=-1, metric="true_logit", label=-1, change=-0.5, q=0.001):
    """A row: the control changes a fifth of what the intervention does."""
    where = {"network": network, "intervention": intervention, "layer": layer, "head": head, "label": label}
    row = where | {"metric": metric, "before": 2.0, "p": q, "q": q, "mass": 0.3, "n_jets": 90, "note": ""}
    for arm, share in (("change", 1), ("control", 0.2), ("difference", 0.8)):
        row |= {arm: share * change, f"{arm}_low": share * change - 0.1, f"{arm}_high": share * change + 0.1}
    return row


def effects(**changed):
    rows = [
        effect(network, name, layer, metric=metric, change=-0.5 * (layer + 2), **changed)
        for network, name, layer, metric in product(
            ("trained", "untrained"), EDGES, (-1, 0, 1), ("true_logit", "margin", "accuracy")
        )
    ]
    heads = [
        effect(network, "head", layer, head, change=-0.1 * (1 + layer + 2 * head), q=0.01 if head else 0.5)
        for network, layer, head in product(("trained", "untrained"), (0, 1), (0, 1))
    ]
    few = effect("trained", "argmax", 0, metric="rejection_50", label=1)
    few |= {"change": np.nan, "q": np.nan, "note": "not measured (3 of 10 jets survive; needs about 167)"}
    return pd.DataFrame([*rows, *heads, few])


def top_k(times=1.4, note=""):
    rows = []
    for weights, k, metric, jet_class, change in (
        ("as trained", 1, "accuracy", "all", -0.2), ("as trained", 4, "accuracy", "all", -0.001),
        ("fine-tuned", 1, "accuracy", "all", -0.05), ("as trained", 1, "rejection_50", "Hbb", 0.5),
        ("as trained", 1, "time", "all", times), ("as trained", 4, "time", "all", times),
    ):  # fmt: skip
        of_time = note if metric == "time" else ""
        value = np.nan if of_time else change
        rows.append({"weights": weights, "k": k, "metric": metric, "class": jet_class, "dense": 0.7,
                     "topk": 0.6, "change": value, "low": value - 0.01, "high": value + 0.01, "n": 1000,
                     "note": of_time})  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def axes(monkeypatch):
    """The figure's panels, kept open instead of written."""
    kept = []
    monkeypatch.setattr(interventions, "save_figure", lambda figure, target: kept.append(figure))
    yield lambda: kept[-1].axes
    plt.close("all")


def test_an_intervention_that_beats_random_edges_is_said_to_matter():
    first = next(iter(intervention_findings(effects())))
    assert "largest edge cut (30 % of a query's weight; 90 jets)" in first
    assert "changes by -0.50 [-0.60, -0.40], with random edges of the same mass by -0.10" in first
    assert (
        "more harm than by random edges of the same mass (difference -0.40 [-0.50, -0.30], q = 0.001)"
        in first
    )
    assert "in 2 of 2, most in layer 1" in first


@pytest.mark.parametrize(
    ("q", "said"),
    [(0.2, "not told from random edges"), (0.05, "not told from random edges"), (np.nan, "too few jets")],
)
def test_a_claim_that_fails_is_said_to_fail(q, said):
    first = next(iter(intervention_findings(effects(q=q))))
    assert said in first
    assert "more harm than by" not in first
    assert "in 0 of 2." in first


def test_a_patch_stands_against_the_jets_own_weights_and_a_tiny_q_is_not_quoted():
    patch = list(intervention_findings(effects(q=1e-20)))[3]
    assert "more harm than by its own weights in random order (" in patch
    assert "q < 0.001" in patch


def test_subjets_are_counted_where_edges_between_or_within_them_are_cut():
    said = list(intervention_findings(effects(), 3))
    assert "edges between three subjets cut (" in said[1]
    assert "edges within three subjets cut (" in said[2]
    assert "edges between 12 subjets cut (" in list(intervention_findings(effects(), 12))[1]


def test_a_change_without_an_interval_that_is_rounded_to_zero_has_no_sign():
    table = effects(q=np.nan)
    table[["change", "change_low", "change_high"]] = [-0.001, np.nan, np.nan]
    first = next(iter(intervention_findings(table)))
    assert "changes by 0.00, with" in first


def test_heads_are_counted_after_correction():
    text = " ".join(intervention_findings(effects()))
    assert "2 of 4 heads lower the true class's logit more" in text
    assert "The largest fall is -0.40 [-0.50, -0.30], by head 1 of layer 1" in text


@pytest.mark.parametrize(
    ("change", "control", "said"),
    [
        (0.2, 0.5, "That raises it less than random edges of the same mass (difference -0.30"),
        (0.5, 0.2, "That raises it more than random edges of the same mass (difference 0.30"),
        (0.5, -0.2, "That raises it, where random edges of the same mass lower it (difference 0.70"),
        (0.5, 0.01, "That raises it, where random edges of the same mass are not told to change it (diff"),
        (0.01, 0.5, "That is not told to change it, and lies below random edges of the same mass (diff"),
        (-0.01, -0.5, "That is not told to change it, and lies above random edges of the same mass (diff"),
    ],
)
def test_no_harm_is_said_to_be_done_where_the_true_logit_does_not_fall(change, control, said):
    table = effects()
    for arm, value in (("change", change), ("control", control), ("difference", change - control)):
        table[arm], table[f"{arm}_low"], table[f"{arm}_high"] = value, value - 0.02, value + 0.02
    texts = list(intervention_findings(table))
    assert said in texts[0]
    assert "in 0 of 2." in texts[0]
    assert "harm than by" not in " ".join(texts)
    assert "0 of 4 heads lower the true class's logit more" in texts[-2]
    assert "2 differ from these without lowering it more" in texts[-2]
    assert texts[-2].endswith("No head lowers it.") == (change > 0)


def test_rejections_that_are_not_measured_are_named_so_and_tests_are_counted():
    text = list(intervention_findings(effects()))[-1]
    assert "No rejection is measured on so few jets, the first for one: 3 of 10 jets survive" in text
    assert "all 19 tests" in text


@pytest.mark.parametrize(("change", "fall"), [(-0.5, 1), (0.05, 0)])
def test_rejections_fall_only_where_they_are_told_to(change, fall):
    measured = effect("trained", "argmax", 0, metric="rejection_50", label=1, change=change)
    measured |= {"difference": -0.4}
    table = pd.concat([effects(), pd.DataFrame([measured])])
    assert (
        f"Of 1 rejections measured {fall} fall more than with their control."
        in list(intervention_findings(table))[-1]
    )


def test_interventions_without_a_jet_are_left_out():
    table = effects()
    table.loc[table.intervention == "patch_same", "change"] = np.nan
    assert len(list(intervention_findings(table))) == len(list(intervention_findings(effects()))) - 1


def test_top_k_says_what_it_costs():
    text = list(topk_findings(top_k()))
    assert "as trained, accuracy changes by -0.200 [-0.210, -0.190] at k = 1" in text[0]
    assert "fine-tuned as long" in text[1]
    assert text[2].endswith("are 4.")
    assert text[3].endswith("where it is measured: Hbb at 50 % 0.50 [0.49, 0.51] at k = 1 (as trained).")


def test_rejections_that_are_not_measured_are_said_not_to_be():
    table = top_k()
    few = table.metric == "rejection_50"
    table.loc[few, ["change", "note"]] = [np.nan, "not measured (3 of 100 jets survive)"]
    assert "No rejection is measured, e.g. Hbb: not measured (3 of 100" in list(topk_findings(table))[3]
    assert "no background to reject" in list(topk_findings(table[~few]))[3]


@pytest.mark.parametrize(
    ("times", "note", "said"),
    [
        (1.4, "", "saves no time"),
        (0.8, "", "saves time here"),
        (1.4, "too noisy: x", "machine was too noisy"),
    ],
)
def test_time_is_said_as_it_is(times, note, said):
    text = list(topk_findings(top_k(times, note)))[-1]
    assert said in text
    assert ("A gain needs kernels that skip them" in text) == (said == "saves no time")
    assert ("Kernels that skip them could save more" in text) == (said == "saves time here")


def test_panels_hold_each_intervention_beside_its_control_and_no_training(axes):
    draw_interventions(effects(), "interventions.png")
    panels = axes()
    assert len(panels) == 10
    heights = [bars.lines[0].get_ydata().tolist() for bars in panels[0].containers]
    assert np.allclose(heights, [[-0.5, -1, -1.5], [-0.1, -0.2, -0.3], [-0.5, -1, -1.5]])
    assert [label.get_text() for label in panels[-1].get_xticklabels()] == ["0", "1", "all"]


def test_the_legend_holds_for_patches_as_for_cuts(axes):
    draw_interventions(effects(), "interventions.png")
    (legend,) = axes()[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "the change", "its control", "the change, untrained network"
    ]  # fmt: skip


def test_the_chapter_says_what_each_control_is_and_how_many_subjets(tmp_path):
    tables = tmp_path / "statistics/net/mine"
    tables.mkdir(parents=True)
    effects().to_parquet(tables / "interventions.parquet")
    top_k().to_parquet(tables / "topk.parquet")
    (tables / "interventions.parquet.meta.json").write_text(json.dumps({"section": {"subjets": 4}}))
    texts = [
        part.text for part in intervention_parts(tmp_path, "net", {"dataset": "mine"}) if part.kind == "text"
    ]
    assert "by random edges or, where another jet's weights are put in, puts in the jet's own in" in texts[0]
    assert "edges between four subjets cut" in texts[2]


def test_heat_map_marks_heads_that_differ_from_random(axes):
    draw_silenced(effects(), "silenced.png")
    panel = axes()[0]
    assert [text.get_text() for text in panel.texts] == ["-0.08", "-0.24*", "-0.16", "-0.32*"]


def test_top_k_panels(axes):
    draw_topk(top_k(), "topk.png")
    accuracy, rejection, time = axes()
    assert [len(panel.containers) for panel in (accuracy, rejection, time)] == [2, 1, 1]
    assert not any(panel.texts for panel in (accuracy, rejection, time))


def test_top_k_panels_say_what_they_are_measured_on(axes):
    table = top_k()
    table.loc[table.metric == "rejection_50", "n"] = 900
    table.loc[table.metric == "time", "n"] = 20
    draw_topk(table, "topk.png")
    titles = [panel.get_title() for panel in axes()]
    assert titles == ["1,000 test jets", "900 background jets", "20 pairs of calls"]
    draw_topk(table[~table.metric.str.startswith("rejection")], "topk.png")
    assert axes()[1].get_title() == ""


def test_no_legend_of_top_k_lies_in_a_panel(axes):
    table = top_k()
    one = table[table.metric == "rejection_50"]
    nine = [one.assign(**{"class": f"class {i}", "k": k, "change": i / 10}) for i in range(9) for k in (1, 4)]
    draw_topk(pd.concat([table, *nine]), "topk.png")
    figure = axes()[0].figure
    figure.draw_without_rendering()
    for panel in axes():
        legend = panel.get_legend().get_window_extent()
        assert not any(legend.overlaps(other.get_window_extent()) for other in axes())
        assert not legend.overlaps(panel.xaxis.label.get_window_extent())
        assert all(figure.bbox.contains(*corner) for corner in legend.corners())


def test_empty_panels_say_why(axes):
    table = top_k(note="too noisy")
    of_rejection = table.metric == "rejection_50"
    table.loc[of_rejection, "change"] = np.nan
    draw_topk(table, "topk.png")
    _, rejection, time = axes()
    assert "too few jets" in rejection.texts[0].get_text()
    assert "noisy" in time.texts[0].get_text()
    draw_topk(table[~of_rejection], "topk.png")
    assert axes()[1].texts[0].get_text() == "no background class"
