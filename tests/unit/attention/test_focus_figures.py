import re
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from softjet.attention.chance import tabulate
from softjet.attention.findings import findings, parts_findings
from softjet.attention.tables import attention_tables
from softjet.attention.untrained import untrained
from softjet.config.attention import Attention
from softjet.figures.attention import (
    draw_choices,
    draw_heads,
    draw_multiplicity,
    draw_parts,
    draw_shares,
    draw_weights,
)
from softjet.figures.chapters.focus import focus_parts
from softjet.figures.focus import (
    by_head,
    draw_attribution,
    draw_focus,
    draw_focus_by_layer,
    draw_partners,
    draw_subjets,
)
from softjet.figures.focus_findings import (
    decay_findings,
    distance_findings,
    focus_findings,
    partner_findings,
)
from softjet.figures.planes import draw_distance, draw_planes, draw_planes_by_layer
from softjet.figures.report import Picture, Text
from softjet.part.model import ParticleTransformer

SETTINGS = Attention(statistics_jets=30, bootstrap=100)


@pytest.fixture
def tables_of(truth_table, tmp_path, monkeypatch):
    """Function that gives all tables of a network for a few jets, all of which are looked at."""
    for module, name in (
        ("focus", "EVERY"), ("partners", "EVERY"), ("attribution", "EVERY"),
        ("planes", "EVERY_MAP"), ("planes", "EVERY_PROFILE"),
    ):  # fmt: skip
        monkeypatch.setattr(f"softjet.attention.{module}.{name}", 1)
    monkeypatch.setattr(
        "softjet.attention.tables.chance_of",
        lambda settings, most: tabulate(settings.thresholds, 16, settings.seed, rows=50),
    )
    monkeypatch.setattr("softjet.attention.parts.EVERY_SPECTRUM", 1)
    pq.write_table(truth_table, tmp_path / "jets.parquet")

    def tables(model):
        other = untrained(model.config, 1, [])
        return attention_tables(model, other, [tmp_path / "jets.parquet"], SETTINGS)[0]

    return tables


@pytest.fixture
def tables(model, tables_of):
    """All tables of the network."""
    return tables_of(model)


@pytest.mark.parametrize(("blocks", "heads"), [(1, 2), (2, 1), (1, 1)])
def test_a_network_of_one_block_or_one_head_is_drawn_and_told(model, tables_of, tmp_path, blocks, heads):
    shape = model.config.model_copy(update={"blocks": blocks, "heads": heads})
    tables = tables_of(ParticleTransformer(shape).eval())
    assert "in the sharpest head (layer" in findings(tables["binary"])["heads"][0]
    assert parts_findings(tables["parts"])["parts"]
    for table, tell in (
        ("focus", focus_findings), ("partners", partner_findings), ("distance", distance_findings),
    ):  # fmt: skip
        assert not [said for said in tell(tables[table]) if re.search(r"\bnan\b", said)]
    for table, draw in (
        ("binary", draw_shares), ("binary", draw_choices), ("binary", partial(draw_heads, threshold=0.8)),
        ("binary", draw_multiplicity), ("weights", draw_weights), ("parts", draw_parts),
        ("focus", draw_focus_by_layer), ("partners", draw_partners), ("partners", draw_attribution),
        ("distance", draw_distance), ("planes", draw_planes_by_layer),
    ):  # fmt: skip
        target = tmp_path / "drawn.png"
        draw(tables[table], target)
        assert target.stat().st_size > 5000
        target.unlink()


def test_every_figure_is_drawn_as_png_and_pdf(tables, tmp_path):
    for table, draw in (
        ("focus", draw_focus), ("focus", draw_subjets), ("focus", draw_focus_by_layer),
        ("partners", draw_partners), ("partners", draw_attribution),
        ("distance", draw_distance), ("planes", draw_planes), ("planes", draw_planes_by_layer),
    ):  # fmt: skip
        target = tmp_path / f"{draw.__name__}.png"
        draw(tables[table], target)
        for path in (target, target.with_suffix(".pdf")):
            assert path.stat().st_size > 5000


def test_the_part_of_the_report_is_made_of_the_tables(tables, tmp_path):
    folder = tmp_path / "statistics" / "reference" / "simulated"
    folder.mkdir(parents=True)
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")
    parts = list(focus_parts(tmp_path, "reference", {"dataset": "simulated"}))
    pictures = [part.path.name for part in parts if isinstance(part, Picture)]
    assert len(pictures) == len(set(pictures)) == 8
    assert sum(isinstance(part, Text) for part in parts) > 10
    for part in parts:
        if isinstance(part, Text):
            assert not re.search(r"\bnan\b", part.text), part.text


def row(statistic, value, null, p, label=-1, **more):
    """A row over all layers and heads with intervals of 0.01 around its numbers."""
    numbers = {"value": value, "null": null, "untrained": null}
    columns = {"statistic": statistic, "layer": -1, "head": -1, "label": label, "n_low": -1}
    columns |= {"class": f"{label}", "p_null": p, "q_null": np.nan, "n_jets": 9, "threshold": np.nan}
    for name, number in numbers.items():
        prefix = "" if name == "value" else f"{name}_"
        columns |= {name: number, f"{prefix}low": number - 0.01, f"{prefix}high": number + 0.01}
    return columns | more


@pytest.mark.parametrize(
    ("value", "p", "verdict"),
    [
        (0.6, 0.001, "attention keeps to the kT subjet"),
        (0.4, 0.001, "goes to other kT subjets more than a blind choice would"),
        (0.6, 0.5, "no preference is seen"),
    ],
)
def test_what_is_said_of_subjets_follows_the_table(value, p, verdict):
    rows = [row(name, value, 0.5, p) for name in ("mass_subjet", "argmax_subjet")]
    sentences = list(focus_findings(pd.DataFrame(rows)))
    assert verdict in sentences[0]
    assert f"{100 * value:.1f} % [{100 * value - 1:.1f}, {100 * value + 1:.1f}] stays" in sentences[0]


@pytest.mark.parametrize(
    ("largest", "p", "verdict"),
    [
        (
            0.4,
            0.001,
            "keep to the kT subjet, the largest ones go to other kT subjets more than a blind choice",
        ),
        (0.6, 0.5, "keep to the kT subjet, the largest ones show no preference (9 jets)."),
        (0.6, np.nan, "keep to the kT subjet, the largest ones are of too few jets to tell a preference"),
    ],
)
def test_largest_weights_that_do_otherwise_are_told_apart(largest, p, verdict):
    rows = [row("mass_subjet", 0.6, 0.5, 0.001), row("argmax_subjet", largest, 0.5, p)]
    said = next(focus_findings(pd.DataFrame(rows)))
    assert f": all weights taken together {verdict}" in said


def test_which_jets_are_cut_into_how_many_subjets_is_said():
    rows = [
        row(f"{kind}_{group}", 0.6, 0.5, 0.01) for kind in ("mass", "argmax") for group in ("subjet", "prong")
    ]
    subjets, prongs, *_ = focus_findings(pd.DataFrame(rows))
    assert "others in jets of two or more prongs, cut into as many kT subjets, 60.0 % [" in subjets
    assert "others in jets with particles of two or more true prongs, 60.0 % [" in prongs


def test_largest_weights_that_are_all_a_querys_own_are_told():
    said = next(focus_findings(pd.DataFrame([row("mass_subjet", 0.6, 0.5, 0.001)])))
    assert "No largest weight is on another particle: attention keeps to the kT subjet (9 jets)." in said


def test_partners_of_no_largest_weight_are_not_drawn(tmp_path):
    draw_partners(pd.DataFrame([row("kt", np.nan, np.nan, np.nan, layer=0)]), tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 1000


def test_without_an_interval_nothing_is_said_of_a_preference():
    rows = [row(name, 0.6, 0.5, np.nan, low=np.nan, high=np.nan) for name in ("mass_subjet", "argmax_subjet")]
    said = next(focus_findings(pd.DataFrame(rows)))
    assert said.endswith("too few jets a class to tell a preference (9 jets).")


@pytest.mark.parametrize(
    ("of_qcd", "verdict"),
    [(0.11, "follows"), (0.285, "is not told to follow"), (0.5, "is not told to follow")],
)
def test_attention_follows_the_decay_only_where_it_is_larger_in_every_class(of_qcd, verdict):
    values = {"QCD": of_qcd, "Hqql": 0.3, "Tbl": 0.4}
    rows = [
        row("to_lepton", value, 0.1, 0.001, label, **{"class": name})
        for label, (name, value) in enumerate(values.items())
    ]
    sentences = list(focus_findings(pd.DataFrame(rows)))
    assert f"Attention to electrons and muons {verdict} the decay" in sentences[0]
    shares = "3.0 [2.9, 3.1] (Hqql), 4.0 [3.9, 4.1] (Tbl) times the even share"
    assert f"{shares}, against {10 * of_qcd:.1f} [{10 * of_qcd - 0.1:.1f}" in sentences[0]


def test_a_class_without_an_interval_is_not_spoken_of():
    values = {"QCD": 0.9, "Hgg": 0.1, "Hqql": 0.3, "Tbl": 0.4}
    rows = [
        row("to_lepton", value, 0.1, 0.001, label, **{"class": name})
        for label, (name, value) in enumerate(values.items())
    ]
    rows[0] |= {"low": np.nan, "high": np.nan}
    (sentence,) = decay_findings(pd.DataFrame(rows))
    assert "follows the decay" in sentence
    assert "QCD" not in sentence


@pytest.mark.parametrize(("p", "said"), [(np.nan, "too few jets to tell it from"), (0.5, "not told from")])
def test_few_jets_do_not_tell_that_two_shares_are_near(p, said):
    rows = pd.DataFrame([row(name, 0.6, 0.5, p) for name in ("to_lepton", "to_lepton_pt", "kt")])
    received, partner = (next(tell(rows)) for tell in (focus_findings, partner_findings))
    assert f"any (9 jets): {said} an even share (50.0 % [49.0, 51.0]) and {said} a share by pT (" in received
    assert f"one: {said} how often a random key of the same Delta R would (" in partner


CONTRIBUTIONS = ("shapley_kt", "shapley_z", "shapley_delta", "shapley_m2")


def contributions(values, **more):
    """Rows of contributions in their order, and of what they add up to."""
    rows = [row(name, value, 0.0, 0.001, **more) for name, value in zip(CONTRIBUTIONS, values, strict=True)]
    return pd.DataFrame([*rows, *(row(name, 1.5, 0.0, 0.001, **more) for name in ("bias_rise", "qk_rise"))])


@pytest.mark.parametrize(
    ("values", "more", "verdict"),
    [
        ((0.1, 0.2, 0.5, 0.9), {}, "ln m^2 adds most"),
        ((0.1, 0.2, 0.895, 0.9), {}, "which adds most is not told"),
        ((-0.1, -0.2, -0.5, 0.005), {}, "which adds most is not told"),
        ((-0.1, -0.2, -0.5, -0.9), {}, "none of them adds to it"),
        ((0.1, 0.2, 0.5, 0.9), {"low": np.nan, "high": np.nan}, "too few jets to tell which adds most"),
    ],
)
def test_a_contribution_is_the_largest_where_intervals_tell_it(values, more, verdict):
    (said,) = (said for said in partner_findings(contributions(values, **more)) if "Shapley" in said)
    assert f"; {verdict}. QK lies" in said
    assert "random" not in said
    assert ("ln z +0.20 [+0.19, +0.21] (blindly +0.00" in said) == (values[1] > 0 and not more)
    assert "nan" not in said


@pytest.mark.parametrize("few", [False, True])
def test_bars_are_spoken_of_where_there_are_any(monkeypatch, few):
    drawn = []
    monkeypatch.setattr("softjet.figures.focus.save_figure", lambda figure, target: drawn.append(figure))
    more = {"low": np.nan, "high": np.nan} if few else {}
    layers = contributions((0.1, 0.2, 0.5, 0.9), layer=0, denominator=1.0, **more)
    draw_attribution(pd.concat([layers, layers.assign(head=0)]), "")
    assert ("bars" in drawn[0].get_suptitle()) == (not few)
    plt.close("all")


def test_sentences_say_of_how_many_jets():
    rows = [row(name, 0.6, 0.5, 0.001, n_jets=1234) for name in ("mass_subjet", "to_lepton", "to_lepton_pt")]
    rows += [
        row("to_lepton", 0.3, 0.1, 0.001, label, **{"class": name, "n_jets": label + 5})
        for label, name in enumerate(("QCD", "Hqql", "Tbl"))
    ]
    within, received, follows = list(focus_findings(pd.DataFrame(rows)))[:3]
    assert within.endswith(" (1,234 jets).")
    assert " in jets that have any (1,234 jets): " in received
    assert follows.endswith(" (18 jets).")
    (partner, *_) = partner_findings(pd.DataFrame([row("kt", 0.6, 0.5, 0.001)]))
    assert partner.endswith(" (9 jets).")
    attributed = list(partner_findings(contributions((0.1, 0.2, 0.5, 0.9))))[1]
    assert "above the mean of its row (9 jets)." in attributed
    edges = [
        row("distance", 0.9, 1, 0.5, threshold=edge, denominator=1.0, n_jets=jets)
        for edge, jets in ((0.0, 30), (0.1, 20))
    ]
    classes = [row("ahead", 0.5, 0.4, 0.001, label, n_jets=7) for label in (0, 1)]
    profile, ahead = distance_findings(pd.DataFrame(edges + classes))
    assert profile.endswith(" (30 jets).")
    assert ahead.endswith(" (14 jets).")


def test_partners_and_distance_in_words(tables):
    sentences = " ".join(partner_findings(tables["partners"]))
    assert "its kT merge partner for" in sentences
    assert "a sibling in the decay (truth) for" in sentences
    said = " ".join(distance_findings(tables["distance"]))
    assert re.search(r"least at [\d.]+ to [\d.]+ 0\.\d\d", said)
    assert said.endswith("of 3 classes (30 jets).")


def test_classes_that_look_ahead_are_counted_by_their_intervals():
    rows = [
        row("ahead", value, 0.4, p, label, **{"class": name})
        for label, (name, value, p) in enumerate(
            [("QCD", 0.3, 0.001), ("Tbl", 0.7, 0.001), ("Zqq", 0.45, 0.5)]
        )
    ]
    profile = [row("distance", 0.9, 1.0, 0.5, threshold=edge, denominator=1.0) for edge in (0.0, 0.1)]
    said = list(distance_findings(pd.DataFrame(profile + rows)))[1]
    assert "above an even share in 1, below in 1 of 3 classes; furthest from it is Tbl, with 70.0 %" in said


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (
            0.001,
            "in 1; furthest from it is Tbl, with 50.0 % [49.0, 51.0] against 40.0 % [39.0, 41.0] (18 jets).",
        ),
        (0.5, "in 1 (18 jets)."),
    ],
)
def test_a_class_of_two_jets_is_not_the_one_furthest_from_an_even_share(p, said):
    few = {"class": "Hbb", "low": np.nan, "high": np.nan}
    rows = [row("ahead", 0.95, 0.4, np.nan, 0, **few), row("ahead", 0.5, 0.4, p, 1, **{"class": "Tbl"})]
    profile = [row("distance", 0.9, 1.0, 0.5, threshold=edge, denominator=1.0) for edge in (0.0, 0.1)]
    ahead = list(distance_findings(pd.DataFrame(profile + rows)))[1]
    assert ahead.endswith(f"below in 0 of 2 classes, too few jets to tell {said}")


@pytest.mark.parametrize(
    ("first", "second", "top"),
    [
        ({"value": 2.3, "high": 2.7}, {}, 2.835),
        ({"value": 1.2, "high": 1.3}, {"value": 1.1, "high": 1.2}, 2.0),
        ({"value": 9.0, "low": np.nan, "high": np.nan}, {"high": 2.4}, 2.52),
        ({"value": 9.0, "low": np.nan, "high": np.nan}, {"low": np.nan, "high": np.nan}, 2.0),
    ],
)
def test_no_bin_with_an_interval_falls_out_of_the_panels_of_distance(monkeypatch, first, second, top):
    drawn = []
    monkeypatch.setattr("softjet.figures.planes.save_figure", lambda figure, target: drawn.append(figure))
    bins = zip((-1, -1, 0, 0), (0.0, 0.1, 0.0, 0.1), (first, second, second, second), strict=True)
    rows = [row("distance", 1.0, 1.0, 0.5, label, threshold=edge) | more for label, edge, more in bins]
    draw_distance(pd.DataFrame(rows), "")
    assert [axes.get_ylim() for axes in drawn[0].axes] == [(0, pytest.approx(top))] * 2
    assert ("bars" in drawn[0].get_suptitle()) == any(pd.notna(row["low"]) for row in rows)
    plt.close("all")


def test_heads_over_all_layers_are_weighted_by_their_queries():
    cells = [
        row("qk_rise", value, 0, 0.1, layer=layer, head=0, denominator=n)
        for layer, (value, n) in enumerate([(1.0, 1), (4.0, 3)])
    ]
    for cell in cells:
        cell["head"] = 0
    found = by_head(pd.DataFrame(cells))
    assert found.value.tolist() == [3.25]
    assert found.low.isna().all()
