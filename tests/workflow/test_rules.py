"""Every rule of the workflow, as Snakemake has read it: what it asks of a machine, and where it may run."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from running import plan

from softjet.jets.schema import CLASSES

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]
# Runs in Snakemake after the workflow: a line of JSON with what its rules say.
TELL = f"""
include: "{ROOT / "Snakefile"}"


import json


def told(resource):
    return "a function" if resource.is_evaluable() else resource.value


def facts(rule):
    resources = {{name: told(r) for name, r in rule.resources.items()}}
    return {{
        "local": rule.name in workflow._localrules,
        "script": rule.script,
        "conda": bool(rule._conda_env),
        "resources": resources,
        "temp": [str(f) for f in rule.output if f.flags.get("temp")],
    }}


print("TOLD", json.dumps({{rule.name: facts(rule) for rule in workflow.rules}}))
print("STAGES", json.dumps({{stage: stage_files(stage) for stage in STAGES}}))
print("REPORT", json.dumps(report_inputs()))
print("MEMORY", json.dumps({{name: memory_of(name) for name in ("gpt2", "bert")}}))
print("BASES", json.dumps({{name: memory_of_base(name) for name in ("gpt2", "part")}}))
print("GPUS", json.dumps({{run: gpus_of_training(run) for run in trained()}}))
"""
CONFIG = """
part:
  theirs: {weights: {name: ParT_full}}
  reference: {training: {device: cuda, processes: 2}}
  takes: {training: {processes: 2}}
comparisons: [{reference: reference, other: theirs}]
datasets: {simulated: {reference: theirs.parquet}}
language: {gpt2: {memory: 9000}}
"""


def lines(folder, profile, *arguments):
    (folder / "Snakefile").write_text(TELL)
    (folder / "mine.yaml").write_text(CONFIG)
    command = [Path(sys.executable).with_name("snakemake"), "--directory", folder, "--dry-run", *arguments]
    command += ["--snakefile", folder / "Snakefile", "--workflow-profile", ROOT / "profiles" / profile]
    command += ["--configfile", ROOT / "config" / "config.yaml", folder / "mine.yaml", "--", "download"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    jobs = re.findall(r"^(\w+) +(\d+)$", done.stdout.partition("Job stats:")[2].partition("total")[0], re.M)
    told = re.findall(r"^(TOLD|STAGES|REPORT|MEMORY|BASES|GPUS) (.*)$", done.stdout, re.M)
    return {word: json.loads(text) for word, text in told} | {"JOBS": {rule: int(n) for rule, n in jobs}}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return lines(tmp_path_factory.mktemp("local"), "default", "--cores", "4")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    return lines(tmp_path_factory.mktemp("cluster"), "slurm")


def test_every_rule_that_a_node_runs_says_what_it_needs(local):
    on_nodes = {name: rule for name, rule in local["TOLD"].items() if rule["script"]}
    assert len(on_nodes) > 40
    for name, rule in on_nodes.items():
        assert rule["conda"], name
        assert {"_cores", "mem_mb", "runtime", "gpu"} <= set(rule["resources"]), name


def test_the_profile_of_a_cluster_repeats_what_decides_on_reruns_and_names_rules_that_are_there(cluster):
    here, there = (
        yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
        for name in ("default", "slurm")
    )
    # A laptop's own: how long its disk takes, its room for temporary files, and that all cores are free.
    assert set(here) - {"latency-wait", "notemp", "cores"} <= {
        key for key in here if there.get(key) == here[key]
    }
    assert set(there["set-resources"]) <= set(cluster["TOLD"])


def test_nothing_runs_on_a_cluster_beside_what_is_timed(cluster):
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    scripts = {name for name, rule in cluster["TOLD"].items() if rule["script"]}
    timed = {name for name in scripts if name.startswith(("bench_", "measure_"))} | {"statistics_topk"}
    assert set(profile["set-resources"]) == timed
    assert all("--exclusive" in resources["slurm_extra"] for resources in profile["set-resources"].values())


def test_only_what_needs_the_network_and_names_of_stages_stay_on_the_first_node(cluster):
    here = {name for name, rule in cluster["TOLD"].items() if rule["local"]}
    assert {name for name in here if cluster["TOLD"][name]["script"]} == {"fetch_source", "fetch_weights"}


def test_simulated_files_are_temporary_and_their_sidecars_are_not(local):
    for name in ("simulate", "simulate_test"):
        (path,) = local["TOLD"][name]["temp"]
        assert path.endswith(".root")
    assert [n for n, rule in local["TOLD"].items() if rule["temp"]] == ["simulate", "simulate_test"]


def test_stages_share_out_what_the_report_shows(local):
    files = [path for paths in local["STAGES"].values() for path in paths]
    assert sorted(files) == sorted(local["REPORT"])
    assert set(local["STAGES"]) <= set(local["TOLD"])


@pytest.mark.parametrize(
    ("rule", "here", "there"), [("evaluate_part", 2, 8), ("bench_loader", 4, 8), ("simulate", 1, 1)]
)
def test_threads_are_of_the_cores_here_and_of_the_profile_there(local, cluster, rule, here, there):
    assert local["TOLD"][rule]["resources"]["_cores"] == here
    assert cluster["TOLD"][rule]["resources"]["_cores"] == there


def test_a_training_asks_for_a_gpu_a_process_where_the_configuration_wants_gpus(local):
    assert local["GPUS"] == {"reference": 2, "takes": 0}


def test_jobs_of_a_language_model_ask_for_the_memory_of_the_configuration(local):
    assert local["MEMORY"] == {"gpt2": 9000, "bert": 4000}
    asking = [n for n, rule in local["TOLD"].items() if rule["resources"].get("mem_mb") == "a function"]
    assert local["BASES"] == {"gpt2": 9000, "part": 4000}
    assert set(asking) == {"measure_crossover"} | {
        f"{what}_language"
        for what in ("prepare", "tune", "evaluate", "learn_ranks", "evaluate_compressed", "measure_latency")
    }


def test_download_fetches_weights_and_all_sources(local):
    assert local["JOBS"] == {"fetch_weights": 1, "fetch_source": 4, "download": 1}


def test_a_hundred_million_jets_and_every_ratio_are_planned(tmp_path):
    command = ["snakemake", "--snakefile", ROOT / "Snakefile", "--directory", tmp_path, "--dry-run"]
    command += ["--quiet", "rules", "--workflow-profile", ROOT / "profiles" / "slurm", "--configfile"]
    command += [ROOT / "config" / name for name in ("config.yaml", "full.yaml", "scale.yaml")]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=300, env=environment
    )
    jobs = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", done.stdout, re.M)}
    assert jobs["simulate"] == 3000, done.stderr[-3000:]
    assert jobs["learn_ranks_part"] == 5 * 6 * 3 + 3
    assert jobs["total"] > 5000


def test_further_test_jets_of_each_class_named_are_simulated_beside_the_default_ones(tmp_path):
    config = tmp_path / "more.yaml"
    config.write_text("datasets: {simulated: {simulation: {shards: 4}, further_test: {Tbl: 3, Hbb: 5}}}")
    asked = plan(tmp_path, "results/jets/simulated/counts.parquet", config=config)
    more = re.findall(r"Simulate (\w+) jets for the test split", asked.said)
    assert Counter(more) == {"QCD": 4, "Tbl": 3, "Hbb": 4}


def test_no_further_test_jets_of_a_class_that_has_zero(tmp_path):
    config = tmp_path / "none.yaml"
    config.write_text("datasets: {simulated: {further_test: {QCD: 0}}}")
    asked = plan(tmp_path, "results/jets/simulated/counts.parquet", config=config)
    assert asked.jobs["simulate"] == len(CLASSES)
    assert "simulate_test" not in asked.jobs
