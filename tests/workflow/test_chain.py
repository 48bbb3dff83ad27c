"""The whole workflow on the small configuration, as a user starts it."""

import json
import re
import zipfile
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from crate_validator import issues
from running import SMALL, artefacts, snakemake

from softjet.config.load import validate
from softjet.jets.batches import JetLoader
from softjet.jets.schema import CLASSES
from softjet.lowrank import load_compressed
from softjet.part.checkpoint import load_part
from softjet.part.prediction import predict_loader
from softjet.provenance.sidecar import SUFFIX, read_sidecar
from softjet.provenance.verify import verify

pytestmark = pytest.mark.workflow

SAID = {
    "artefact",
    "sha256",
    "rule",
    "section",
    "code",
    "environment",
    "inputs",
    "outputs",
    "seeds",
    "device",
}
SAID |= {"threads", "started", "wall_seconds", "notes", "commit", "versions", "host"}


def test_chain_ends_in_a_report_that_stands_alone(finished):
    page = (finished / "results" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 8
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", page)
    for stage in (
        "Simulation",
        "Training",
        "Attention",
        "Fewer parameters",
        "Which physics goes first",
        "Speed",
    ):
        assert f"{stage}</h2>" in page, stage


def test_what_was_found_leads_to_where_it_is_shown(finished):
    page = (finished / "results" / "report.html").read_text(encoding="utf-8")
    head = page[page.index("What was found") : page.index("</section>")]
    links = re.findall(r'<li><a href="#([^"]+)">([^<]+)</a>', head)
    assert len(links) == head.count("<li>") >= 6
    assert len({topic for _, topic in links}) == len(links)
    assert {anchor for anchor, _ in links} <= set(re.findall(r'<section id="([^"]+)">', page))


def test_nothing_to_do_the_second_time(finished):
    again = snakemake(finished)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stderr


def test_every_artefact_has_a_sidecar_that_says_all(finished):
    found = artefacts(finished)
    assert len(found) > 25
    for artefact in found:
        facts = json.loads(Path(f"{artefact}{SUFFIX}").read_text())
        assert set(facts) >= SAID, artefact
        assert facts["artefact"] == str(artefact.relative_to(finished)), artefact
        assert artefact in [finished / output for output in facts["outputs"]], artefact
        assert set(facts["commit"]) == {"id", "dirty"}
        assert facts["versions"]["snakemake"]
        assert facts["wall_seconds"] >= 0
    trained = read_sidecar(finished / "results" / "part" / "reference" / "model.safetensors")
    assert trained["seeds"] == {"training.seed": trained["section"]["training"]["seed"]}


def test_results_match_their_sidecars(finished):
    found = verify(finished / "results")
    assert found.problems == []
    assert found.artefacts == len(artefacts(finished)) > 25
    assert found.inputs > 25


def test_the_run_is_a_valid_research_object(finished, tmp_path):
    assert issues(finished / "results", tmp_path) == []


def test_the_research_object_holds_every_result(finished):
    results = finished / "results"
    graph = json.loads((results / "ro-crate-metadata.json").read_text())["@graph"]
    files = {unquote(entity["@id"]): entity for entity in graph if "File" in entity["@type"]}
    crate = [results / name for name in ("ro-crate-metadata.json", "crate/Snakefile", "crate/config.yaml")]
    assert {results / name for name in files if "://" not in name} == {*artefacts(finished), *crate} - {
        crate[0]
    }
    for artefact in {*artefacts(finished)} - {*crate}:
        assert files[str(artefact.relative_to(results))]["sha256"] == read_sidecar(artefact)["sha256"]
    settings = yaml.safe_load(crate[2].read_text())
    assert settings["datasets"]["simulated"]["simulation"]["jets_per_class"] == 60
    assert validate(settings, "config.yaml").part.keys() == {"reference"}


def test_snakemakes_own_report_has_every_figure_with_its_caption(finished, tmp_path):
    done = snakemake(finished, "--report", tmp_path / "report.zip")
    assert done.returncode == 0, done.stderr[-3000:]
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        page = archive.read("report/report.html").decode()
        shown = [Path(name).name for name in archive.namelist()]
    figures = [path.name for path in (finished / "results").rglob("*.png")]
    assert sorted(name for name in shown if name.endswith(".png")) == sorted(figures)
    told = page.partition('<script id="results">')[2].partition("=")[2]
    about, _ = json.JSONDecoder().raw_decode(told.lstrip())
    assert len(about) == len(figures) + 2
    for path, entry in about.items():
        assert len(entry["caption"]) > 40, path
        assert "{{" not in entry["caption"], path


def test_no_half_written_file_and_no_state_is_left(finished):
    assert not list(finished.rglob(".partial-*"))
    assert not [p for p in (finished / ".state").rglob("*") if p.is_file()]


# On a processor that multiplies bfloat16 faster `auto` would give other bits.
@pytest.mark.parametrize(
    ("folder", "table", "load"),
    [
        ("part/reference", "logits", load_part),
        ("lowrank/part/soft-threshold-0.5-1", "examples", load_compressed),
    ],
)
def test_jets_are_answered_in_the_precision_of_the_configuration(finished, folder, table, load):
    results = finished / "results"
    model = load(results / folder)
    loader = JetLoader.for_model([results / "jets/simulated/test_0.parquet"], model.config, 32)
    answers = predict_loader(model, loader, "float32")[0].numpy()
    written = pq.read_table(results / folder / f"{table}.parquet").to_pandas()
    columns = [f"logit_{name}" for name in loader.classes]
    np.testing.assert_array_equal(written[columns].to_numpy(), answers)


def test_every_simulated_jet_is_in_exactly_one_split(finished):
    tables = [pq.read_table(p) for p in (finished / "results" / "jets" / "simulated").glob("*_0.parquet")]
    assert len(tables) == 3
    places = [
        pair for t in tables for pair in zip(t["source"].to_pylist(), t["entry"].to_pylist(), strict=True)
    ]
    dataset = yaml.safe_load(SMALL.read_text())["datasets"]["simulated"]
    jets = dataset["simulation"]["jets_per_class"] * len(CLASSES) + sum(dataset["further_test"].values())
    assert len(places) == len(set(places)) == jets


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("part: {reference: {training: {epoch: 1}}}", "part.reference.training.epoch"),
        ("datasets: {simulated: {simulation: {jets_per_class: 0}}}", "jets_per_class"),
    ],
)
def test_wrong_configuration_is_one_line_and_starts_nothing(tmp_path, text, field):
    config = tmp_path / "wrong.yaml"
    config.write_text(text)
    done = snakemake(tmp_path, config=config)
    assert done.returncode != 0
    assert field in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_truncated_root_file_is_named_and_leaves_nothing(tmp_path, finished):
    whole = (finished / "resources" / "simulated" / "simulated" / "QCD_0.root").read_bytes()
    (tmp_path / "cut.root").write_bytes(whole[: len(whole) // 2])
    config = tmp_path / "mine.yaml"
    config.write_text(
        "datasets: {simulated: null, mine: {source: jetclass, files: [cut.root]}}\n"
        "part: {reference: {dataset: mine}}\n"
        "tasks: null\nlanguage: null\ncompress: null\n"
    )
    done = snakemake(tmp_path, config=config)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("softjet: ")]
    assert len(lines) == 1
    assert "cut.root" in lines[0]
    assert not artefacts(tmp_path)
