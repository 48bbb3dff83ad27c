"""Published formats and imported weights through the workflow, up to the report."""

import re

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from running import artefacts, snakemake
from small_trees import four_vectors, write_quark_gluon, write_top

from softjet.config.part import ParTModel
from softjet.part.model import ParticleTransformer
from softjet.part.weaver import export_weaver

pytestmark = pytest.mark.workflow

JETS = 1200
CONFIG = """
datasets:
  simulated: null
  top: {source: top_landscape, files: [top.h5], fractions: {train: .5, validation: .2, test: .3}}
  qg: {source: quark_gluon, files: ["qg*.npz"], fractions: {train: .5, validation: .2, test: .3}}
part:
  reference: null
  top: {dataset: top, model: &shape {SHAPE, features: kin}, training: &training {steps: 6, batch_size: 32}}
  tuned: {dataset: top, start_from: qg, model: *shape, training: {steps: 3, batch_size: 32, head_rate: 50}}
  qg: {dataset: qg, model: *shape, training: *training}
  theirs: {dataset: qg, weights: {name: mine, folder: weights, head_scale: current}}
comparisons: [{reference: top, other: tuned}]
tasks: null
language: null
compress: null
attention: {growth_jets: 40, jets: 40, statistics_jets: 400, maps: 4, bootstrap: 100}
observables: {train_jets: 100, jets: 100, bootstrap: 100}
interventions: {jets: 20, donors: 40, bootstrap: 100}
topk: {keep: [1, 4], tuned: [], jets: 40, batch_size: 16, samples: 5}
""".replace(
    "SHAPE", "classes: 2, embed_dims: [16, 16], pair_embed_dims: [8], heads: 2, blocks: 2, class_blocks: 1"
)

THEIRS = ParTModel(
    features="kinpid", classes=2, embed_dims=(16, 16), pair_embed_dims=(8,), heads=2, blocks=2, class_blocks=1
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    jets, labels = four_vectors(JETS), [i % 2 for i in range(JETS)]
    write_top(folder / "top.h5", jets, labels)
    write_quark_gluon(folder / "qg.npz", jets, labels)
    (folder / "weights").mkdir()
    torch.save(export_weaver(ParticleTransformer(THEIRS)), folder / "weights" / "mine.pt")
    (folder / "mine.yaml").write_text(CONFIG)
    targets = [f"results/part/{run}/metrics.parquet" for run in ("top", "qg")]
    targets += ["results/part/tuned/against-top.parquet", "results/explorer/top/top.html"]
    targets += ["results/figures/tuned/top/growth.png"]
    targets += [f"results/figures/top/{name}.png" for name in ("jets", "top/focus", "top/growth")]
    done = snakemake(folder, "--", *targets, config=folder / "mine.yaml")
    assert done.returncode == 0, done.stderr[-6000:]
    return folder / "results"


@pytest.fixture(scope="module")
def report(finished):
    """Text of the report on imported weights and quark-gluon jets, which have no track and no truth."""
    settings = yaml.safe_load(CONFIG) | {"comparisons": []}
    settings["datasets"].pop("top")
    settings["part"] = {"reference": None, "theirs": settings["part"]["theirs"]}
    config = finished.parent / "alone.yaml"
    config.write_text(yaml.safe_dump(settings))
    done = snakemake(finished.parent, config=config)
    assert done.returncode == 0, done.stderr[-6000:]
    page = (finished / "report.html").read_text(encoding="utf-8")
    return re.sub(r"base64,[^\"]*", "", page)


def test_a_report_is_written_of_jets_of_two_classes(report):
    assert "Jets</h2>" in report
    assert "(theirs) tells 2 classes of jets apart" in report
    assert "imported, not trained here: weights/mine.pt" in report
    assert "Left out, since these jets do not tell it or have none: attention to displaced tracks" in report
    for chapter in ("Attention", "Focus", "Traditional observables", "Interventions"):
        assert f"{chapter}</h2>" in report, chapter


def test_nothing_is_said_of_classes_that_are_not_there(report):
    assert not re.search(r"\b(nan|QCD|Hbb|Tbl|Tbqq)\b|simulated", report)


@pytest.mark.parametrize(
    ("page", "classes"), [("top/top", ("QCD", "Top")), ("theirs/qg", ("gluon", "quark"))]
)
def test_explorer_names_the_classes_of_the_jets(finished, report, page, classes):
    page = (finished / "explorer" / f"{page}.html").read_text(encoding="utf-8")
    assert f'"classes": ["{classes[0]}", "{classes[1]}"]' in page


def test_focus_of_jets_without_identities_is_on_what_is_there(finished):
    statistics = set(pd.read_parquet(finished / "statistics" / "top" / "top" / "focus.parquet").statistic)
    assert {"to_hardest", "mass_subjet"} <= statistics
    assert not {"to_lepton", "to_photon", "to_displaced", "mass_prong"} & statistics


@pytest.mark.parametrize(("dataset", "classes"), [("top", "QCD,Top"), ("qg", "gluon,quark")])
def test_every_jet_of_a_published_format_is_converted(finished, dataset, classes):
    files = list((finished / "jets" / dataset).glob("*_0.parquet"))
    assert sum(pq.read_metadata(path).num_rows for path in files) == JETS
    assert {pq.read_schema(path).metadata[b"classes"].decode() for path in files} == {classes}


@pytest.mark.parametrize(("run", "signal"), [("top", "Top"), ("qg", "quark")])
def test_metrics_are_those_of_the_benchmark(finished, run, signal):
    metrics = pd.read_parquet(finished / "part" / run / "metrics.parquet")
    rejections = metrics[metrics.metric.str.startswith("rejection")]
    assert list(rejections["metric"]) == ["rejection_50", "rejection_30"]
    assert set(rejections["class"]) == {signal}
    assert metrics["published"].notna().any() == (run == "top")


def test_a_fine_tuned_run_is_compared_on_the_same_jets(finished):
    table = pd.read_parquet(finished / "part" / "tuned" / "against-top.parquet")
    row = table.iloc[0]
    assert row.low <= row.change <= row.high
    assert row.n == sum(
        pq.read_metadata(p).num_rows for p in (finished / "jets" / "top").glob("test_*.parquet")
    )


@pytest.mark.parametrize("run", ["top", "tuned"])
def test_growth_begins_with_the_network_that_the_training_began_with(finished, run):
    growth = pd.read_parquet(finished / "statistics" / run / "top" / "growth.parquet")
    first = growth[growth["step"] == 0]
    assert len(first)
    assert (first["value"] == first["untrained"]).all() == (run == "top")


def test_features_that_the_format_lacks_are_one_line(finished, tmp_path):
    for name in ("top.h5", "qg.npz"):
        (tmp_path / name).symlink_to(finished.parent / name)
    (tmp_path / "mine.yaml").write_text(CONFIG.replace("features: kin", "features: full"))
    done = snakemake(tmp_path, "--", "results/part/top/metrics.parquet", config=tmp_path / "mine.yaml")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("softjet: ")]
    assert len(lines) == 1
    assert "part_charge" in lines[0]
    assert "kin" in lines[0]
    assert not [path for path in artefacts(tmp_path) if "part" in path.parts]
