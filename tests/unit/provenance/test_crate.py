import base64
import json
from pathlib import Path

import pytest
from small_run import write_run, write_step

from softjet.errors import InputError
from softjet.provenance.crate import write_crate
from softjet.provenance.files import sha256
from softjet.provenance.sidecar import read_sidecar

REPORT = "results/report.html"


def described():
    """The crate of the run, its entities by their names."""
    Path("results/crate").mkdir(exist_ok=True)
    workflow, configuration = Path("results/crate/Snakefile"), Path("results/crate/config.yaml")
    workflow.write_text("rule all:\n")
    configuration.write_text("paths: {}\n")
    write_crate("results/ro-crate-metadata.json", REPORT, workflow, configuration)
    graph = json.loads(Path("results/ro-crate-metadata.json").read_text())["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    assert len(entities) == len(graph)
    return entities


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run()
    # The second job goes on while the others come and go.
    for path, started, seconds in (
        ("resources/simulated.root", "10:00:00", 2),
        ("results/jets/train.parquet", "10:00:03", 500),
        ("results/figures/a b.png", "10:00:04", 1),
        ("results/figures/a b.pdf", "10:00:04", 1),
        ("results/report.html", "10:00:06", 1),
    ):
        facts = read_sidecar(path) | {"started": f"2026-11-26T{started}+00:00", "wall_seconds": seconds}
        Path(f"{path}.meta.json").write_text(json.dumps(facts))


def ids(value):
    return {entity["@id"] for entity in (value if isinstance(value, list) else [value])}


def jobs(entities):
    return {e["name"]: e for e in entities.values() if e["@id"].startswith("#job-") and "instrument" in e}


def test_every_job_has_what_it_used_and_what_it_made():
    entities = described()
    found = jobs(entities)
    assert [found[rule]["@id"] for rule in ("simulate", "convert", "draw", "report")] == [
        f"#job-{number}" for number in (1, 2, 3, 4)
    ]
    assert ids(found["draw"]["result"]) == {"figures/a%20b.png", "figures/a%20b.pdf"}
    assert "jets/train.parquet" in ids(found["draw"]["object"])
    (parameters,) = (
        e for e in entities.values() if e["@id"] in ids(found["draw"]["object"]) and "value" in e
    )
    assert json.loads(parameters["value"]) == {"seed": 3}
    assert found["draw"]["startTime"] == read_sidecar("results/figures/a b.png")["started"]
    assert entities[found["draw"]["instrument"]["@id"]]["softwareVersion"] == "c"


def test_files_of_the_crate_have_place_digest_and_size():
    entities = described()
    figure = entities["figures/a%20b.png"]
    path = Path("results/figures/a b.png")
    assert figure["name"] == str(path)
    assert (figure["sha256"], figure["contentSize"]) == (sha256(path), str(path.stat().st_size))
    assert figure["encodingFormat"] == "image/png"
    assert entities["jets/train.parquet"]["encodingFormat"] == "application/vnd.apache.parquet"


def test_files_outside_are_named_by_their_digest():
    entities = described()
    digest = base64.urlsafe_b64encode(bytes.fromhex(sha256("mine.h5"))).decode().rstrip("=")
    mine = entities[f"ni:///sha-256;{digest}"]
    assert (mine["name"], mine["contentSize"]) == ("mine.h5", "4")
    (temporary,) = (e for e in entities.values() if e.get("name") == "resources/simulated.root")
    assert temporary["sha256"] == read_sidecar("resources/simulated.root")["sha256"]
    assert "contentSize" not in temporary


def test_the_run_is_from_the_first_job_to_the_last_and_used_what_no_job_made():
    entities = described()
    run, workflow = entities["#run"], entities["crate/Snakefile"]
    assert run["instrument"]["@id"] == "crate/Snakefile" == entities["./"]["mainEntity"]["@id"]
    assert run["startTime"] == "2026-11-26T10:00:00+00:00"
    assert run["endTime"] == "2026-11-26T10:08:23+00:00"
    assert {entities[i]["name"] for i in ids(run["object"])} == {"crate/config.yaml", "mine.h5"}
    assert len(ids(run["result"])) == 5
    versions = read_sidecar(REPORT)["versions"]
    assert entities[workflow["programmingLanguage"]["@id"]]["version"] == versions["snakemake"]
    needs = {
        entities[i]["name"]: entities[i]["softwareVersion"] for i in ids(workflow["softwareRequirements"])
    }
    assert needs == versions


def test_the_same_run_is_described_by_the_same_bytes():
    entities = described()
    assert entities["./"]["datePublished"] == entities["#run"]["endTime"]
    first = Path("results/ro-crate-metadata.json").read_bytes()
    described()
    assert Path("results/ro-crate-metadata.json").read_bytes() == first


def test_results_of_no_use_to_the_report_are_left_out():
    Path("resources/simulated.root").write_text("simulate simulated.root")
    write_step("simulate")
    Path("results/old.parquet").write_text("of another configuration")
    assert not [name for name in described() if "old" in name]


def test_a_file_from_another_workflow_is_a_source():
    sidecar = Path("mine.h5.meta.json")
    sidecar.write_text(json.dumps(read_sidecar(REPORT) | {"artefact": "theirs/mine.h5", "rule": "theirs"}))
    entities = described()
    assert "#rule-theirs" not in entities
    assert "mine.h5" in {entities[i]["name"] for i in ids(entities["#run"]["object"])}


@pytest.mark.parametrize("gone", ["figures/a b.png", "figures/a b.pdf.meta.json", "report.html.meta.json"])
def test_what_is_missing_is_named_and_nothing_is_written(gone):
    (Path("results") / gone).unlink()
    with pytest.raises(InputError, match=gone):
        described()
    assert not Path("results/ro-crate-metadata.json").exists()
