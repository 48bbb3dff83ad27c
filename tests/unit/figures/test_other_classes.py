"""Figures and words about jets of other classes than JetClass's ten, which tell less of their particles."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from small_dataset import write_counts

from softjet.figures import focus, jets
from softjet.figures.chapters import build, found
from softjet.figures.chapters.found import find_most_important
from softjet.figures.chapters.simulation import dataset_parts
from softjet.figures.focus_findings import focus_findings, partner_findings
from softjet.figures.report import Picture
from softjet.jets.schema import CLASSES
from softjet.part.evaluate import metrics_table


def row(statistic, value, label=-1, layer=-1):
    """A row of a table of statistics over all heads; the null is 0.1."""
    row = {"statistic": statistic, "layer": layer, "head": -1, "label": label, "n_low": -1, "n_jets": 9}
    row |= {"class": "all" if label < 0 else ("gluon", "quark")[label], "p_null": 0.001, "q_null": 0.001}
    for name, number in (("value", value), ("null", 0.1), ("untrained", 0.1)):
        prefix = "" if name == "value" else f"{name}_"
        row |= {name: number, f"{prefix}low": number, f"{prefix}high": number}
    return row


def statistics(values):
    """Rows of each statistic over all layers and of one layer, of all classes and of each."""
    places = [(label, layer) for label in (-1, 0, 1) for layer in (-1, 0)]
    return pd.DataFrame([row(name, value, *place) for name, value in values.items() for place in places])


@pytest.fixture
def drawn(monkeypatch):
    """Figures by name of their file, as they are before they are written."""
    figures = {}
    for module in (focus, jets):
        monkeypatch.setattr(module, "save_figure", lambda figure, target: figures.update({target: figure}))
    yield figures
    plt.close("all")


def jets_of(classes):
    generator = np.random.default_rng(0)
    columns = ("jet_sdmass", "jet_nparticles", "jet_tau1", "jet_tau2", "jet_tau3")
    frame = pd.DataFrame(generator.uniform(0.1, 1, (20 * len(classes), 5)), columns=columns)
    return frame.assign(label=np.arange(len(frame)) % len(classes))


@pytest.mark.parametrize(
    ("classes", "names", "lines"),
    [
        (("gluon", "quark"), ["gluon", "quark"], 0),
        (("QCD", "Top"), ["QCD", "Top"], 1),
        (CLASSES, ["QCD", "Wqq", "Hbb", "Tbqq"], 3),
    ],
)
def test_jets_are_drawn_under_the_names_of_their_own_classes(drawn, classes, names, lines):
    jets.draw_jets(jets_of(classes), "jets", classes)
    panel = drawn["jets"].axes[0]
    legend = panel.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [f"{name} (n = 20)" for name in names]
    assert len(panel.get_lines()) == lines
    assert bool(legend.get_title().get_text()) == bool(lines)


@pytest.mark.parametrize(
    ("classes", "mass"),
    [(("gluon", "quark"), ""), (("QCD", "Top"), "at the top mass"), (CLASSES, "W, Higgs and top")],
)
def test_caption_names_masses_of_what_the_classes_decay_from(tmp_path, classes, mass):
    write_counts(tmp_path, classes)
    settings = {"source": "quark_gluon", "files": ["a.npz"], "reference": []}
    caption = next(p for p in dataset_parts(tmp_path, "mine", settings) if isinstance(p, Picture)).caption
    assert ("mass" in caption) == bool(mass)
    assert mass in caption


def test_what_jets_do_not_tell_is_left_out_in_words():
    told = {"to_hardest": 0.3, "to_hardest_pt": 0.3, "mass_subjet": np.nan, "argmax_subjet": np.nan}
    sentences = list(focus_findings(statistics(told)))
    assert not any("nan" in sentence for sentence in sentences)
    assert len(sentences) == 3
    assert sentences[1] == (
        "Left out, since these jets do not tell it or have none: attention to electrons and muons, photons, "
        "displaced tracks, products of b and c hadrons (truth), another kT subjet, another true prong."
    )


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"to_hardest": 0.3, "to_hardest_pt": 0.3, "mass_subjet": np.nan}, []),
        ({"mass_subjet": np.nan, "mass_prong": 0.3, "argmax_prong": 0.3}, []),
        ({"mass_prong": 0.4, "mass_subjet": 0.3, "argmax_subjet": 0.3}, ["stays in their own kT subjet"]),
    ],
)
def test_the_finding_of_subjets_is_of_subjets(tmp_path, monkeypatch, told, said):
    for name in ("intervention_findings", "within_findings"):
        monkeypatch.setattr(found, name, lambda table: iter(()))
    for name in ("focus", "interventions", "probes"):
        statistics(told).to_parquet(tmp_path / f"{name}.parquet")
    findings = list(found._physics(tmp_path))
    assert [finding.topic for finding in findings] == ["Subjets"] * len(said)
    assert all(words in finding.text for words, finding in zip(said, findings, strict=True))


def test_a_partner_that_only_truth_tells_is_left_out_in_words():
    told = dict.fromkeys(("kt", "cambridge_aachen", "nearest", "hardest"), 0.2)
    sentences = list(partner_findings(statistics(told)))
    assert "have none: attention to a sibling in the decay (truth)." in sentences[4]
    assert len(sentences) == 6


def test_subjets_of_jets_with_one_are_no_panel(drawn):
    told = {"to_hardest": 0.3, "to_hardest_pt": 0.3, "mass_subjet": np.nan, "argmax_subjet": np.nan}
    focus.draw_subjets(statistics(told), "subjets")
    assert [text.get_text() for text in drawn["subjets"].axes[0].texts] == [
        "these jets have no two subjets or prongs"
    ]
    focus.draw_focus_by_layer(statistics(told), "layers")
    titles = [axes.get_title() for axes in drawn["layers"].axes]
    assert [title for title in titles if title] == ["to the hardest"]


def test_classes_without_jets_are_not_told_apart(tmp_path):
    """JetClass's ten classes, of which a file holds three."""
    folder = tmp_path / "part" / "net"
    folder.mkdir(parents=True)
    labels = np.repeat([0, 1, 8], 20)
    metrics_table(np.eye(10)[labels], labels).to_parquet(folder / "metrics.parquet")
    settings = {"part": {"net": {}}, "language": {}, "compress": {}}
    said = next(find_most_important(tmp_path, settings, {"net": {}})).text
    assert "tells 3 classes of jets apart" in said
    assert "(it chooses among 10, of which the others have no test jets; guessing gives 0.10)" in said


def test_of_one_class_nothing_is_told_apart(tmp_path):
    folder = tmp_path / "part" / "net"
    folder.mkdir(parents=True)
    labels = np.zeros(20, int)
    metrics_table(np.eye(10)[labels], labels).to_parquet(folder / "metrics.parquet")
    settings = {"part": {"net": {}}, "language": {}, "compress": {}}
    said = next(find_most_important(tmp_path, settings, {"net": {}}))
    assert "Particle Transformer (net) recognises jets of 1 class with an accuracy of 1.000" in said.text
    assert "it chooses among 10, of which the others have no test jets" in said.text
    assert "apart" not in said.topic + said.text


def test_guessing_is_among_the_classes_there_are(tmp_path):
    folder = tmp_path / "part" / "net"
    folder.mkdir(parents=True)
    labels = np.repeat([0, 1, 2], 20)
    table = metrics_table(np.eye(3)[labels], labels, ("QCD", "left", "right"))
    table.to_parquet(folder / "metrics.parquet")
    settings = {"part": {"net": {}}, "language": {}, "compress": {}}
    said = next(find_most_important(tmp_path, settings, {"net": {}})).text
    assert "tells 3 classes of jets apart" in said
    assert "on 60 test jets (guessing gives 0.33)." in said


@pytest.mark.parametrize("method", ["soft-threshold", "whitened-soft-threshold", "learned-mask", "svd"])
def test_what_is_of_learned_ranks_is_told_where_ranks_were_learned(monkeypatch, tmp_path, method):
    written = []
    for place in [name for name in vars(build) if name.endswith("_parts")] + ["find_most_important"]:
        monkeypatch.setattr(build, place, lambda *_: iter(()))
    monkeypatch.setattr(build, "write_report", lambda *parts: written.extend(parts))
    settings = {"datasets": {"mine": {"source": "parquet"}}, "part": {"net": {"weights": None}}}
    settings |= {
        "comparisons": [],
        "language": {},
        "compress": {"small": {"base": "net", "shown": f"{method}-0.5-1"}},
    }
    build.build_report(tmp_path / "report.html", tmp_path, settings, {"net": {}})
    headings = [section.heading for section in written[-1]]
    assert "Fewer parameters" in headings
    for heading in ("Which physics goes first", "Half of the parameters"):
        assert (heading in headings) == (method != "svd")


@pytest.mark.parametrize(
    ("source", "weights", "compress", "heading", "said"),
    [
        ("top_landscape", None, {}, "Jets", "From files of jets through training to attention, in"),
        (
            "parquet",
            {"name": "a"},
            {},
            "Jets",
            "From files of jets through imported weights to attention, in",
        ),
        (
            "simulation",
            None,
            {"a": {"base": "net", "shown": "svd-0.5-1"}},
            "Simulation",
            "From simulated collisions through training, attention",
        ),
    ],
)
def test_head_of_the_report_says_what_was_done(
    monkeypatch, tmp_path, source, weights, compress, heading, said
):
    written = []
    for place in [name for name in vars(build) if name.endswith("_parts")] + ["find_most_important"]:
        monkeypatch.setattr(build, place, lambda *_: iter(()))
    monkeypatch.setattr(build, "write_report", lambda *parts: written.extend(parts))
    settings = {"datasets": {"mine": {"source": source}}, "part": {"net": {"weights": weights}}}
    settings |= {"comparisons": [], "language": {}, "compress": compress}
    build.build_report(tmp_path / "report.html", tmp_path, settings, {"net": {}})
    _, title, lead, _, sections = written
    assert sections[0].heading == heading
    assert lead.startswith(said)
    assert ("how small" in title) == bool(compress)
