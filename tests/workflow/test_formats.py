"""Published formats through the workflow: conversion, training, fine-tuning, evaluation, comparison."""

import pandas as pd
import pyarrow.parquet as pq
import pytest
from small_trees import four_vectors, write_quark_gluon, write_top
from test_chain import artefacts, snakemake

pytestmark = pytest.mark.workflow

JETS = 240
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
comparisons: [{reference: top, other: tuned}]
compress: {part: null}
""".replace(
    "SHAPE", "classes: 2, embed_dims: [16, 16], pair_embed_dims: [8], heads: 2, blocks: 1, class_blocks: 1"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    jets, labels = four_vectors(JETS), [i % 2 for i in range(JETS)]
    write_top(folder / "top.h5", jets, labels)
    write_quark_gluon(folder / "qg.npz", jets, labels)
    (folder / "mine.yaml").write_text(CONFIG)
    targets = [f"results/part/{run}/metrics.parquet" for run in ("top", "qg")]
    targets += ["results/part/tuned/against-top.parquet"]
    done = snakemake(folder, "--", *targets, config=folder / "mine.yaml")
    assert done.returncode == 0, done.stderr[-6000:]
    return folder / "results"


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
