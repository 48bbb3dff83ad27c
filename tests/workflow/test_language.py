"""Language models of every family through rank learning to a report, without jets and without network."""

import json
import shutil

import pandas as pd
import pytest
import yaml
from running import artefacts, snakemake
from small_language import LEARNING, METHODS, SIZES, config

from softjet.provenance.sidecar import SUFFIX

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def finished(finished_language):
    return finished_language / "results"


@pytest.mark.parametrize("family", SIZES)
def test_half_of_the_blocks_is_gone(finished, family):
    table = pd.read_parquet(finished / "lowrank" / family / "comparison.parquet")
    learned = table[(table.method == "soft-threshold") & (table.against == "dense")]
    assert 0.4 < learned.keep_blocks.iloc[0] <= 0.5
    assert learned.metric.iloc[0] == ("accuracy" if family == "bert" else "perplexity")
    assert table[table.method == "dense"].keep_total.eq(1).all()


def test_methods_have_the_same_size_and_the_same_steps(finished):
    table = pd.read_parquet(finished / "lowrank" / "gpt2" / "comparison.parquet")
    beside = table[table.against == "dense"].set_index("method")
    assert set(beside.index) == {"dense", *METHODS}
    sizes = beside.loc[list(METHODS), "keep_linears"]
    assert sizes.max() - sizes.min() < 0.03
    for run in (finished / "lowrank" / "gpt2").glob("*-*-1"):
        assert len(pd.read_parquet(run / "history.parquet")) == 34, run


def test_a_compressed_folder_says_what_it_is(finished):
    about = json.loads((finished / "lowrank" / "mamba" / "soft-threshold-0.5-1" / "config.json").read_text())
    assert about["base_model"] == "mamba"
    assert about["origin"]["weights"] is None
    assert about["origin"]["task"]["name"] == "wikitext2"
    assert about["architecture"]["class"] == "MambaForCausalLM"
    assert about["how"]["method"] == "soft-threshold"


def test_layers_of_the_same_inputs_are_one_where_the_recipe_says_so(finished):
    run = finished / "lowrank" / "llama" / "soft-threshold-0.5-1"
    about = json.loads((run / "config.json").read_text())
    joint = ["self_attn.q_proj+k_proj+v_proj", "mlp.gate_proj+up_proj"]
    assert about["joint"] == [f"model.layers.0.{name}" for name in joint]
    ranks = pd.read_parquet(run / "ranks.parquet").set_index("type")
    assert set(ranks.index) == {*joint, "self_attn.o_proj", "mlp.down_proj"}
    low = ranks[~ranks["dense"]]
    assert (low["parameters"] == low["rank"] * (low["m"] + low["n"] - low["rank"])).all()
    assert all(about["ranks"][path]["form"] == "pivot" for path in low["module"])


def test_the_report_names_every_family_and_what_it_is(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    for heading in ("Language models", "Fewer parameters", "Speed", "Half of the parameters"):
        assert f"{heading}</h2>" in page, heading
    for family in SIZES:
        assert f"{family} (trained here)" in page, family


def test_every_artefact_has_a_sidecar(finished):
    assert len(artefacts(finished.parent)) > 50
    assert all(path.with_name(path.name + SUFFIX).exists() for path in artefacts(finished.parent))


def test_a_budget_of_time_measures_the_models_own_shapes_first(finished, tmp_path):
    # The finished folder is shared; what is made here must not be found there.
    folder = shutil.copytree(finished.parent, tmp_path / "timed")
    timed = {
        "base": "gpt2",
        "learning": LEARNING | {"of": "time", "rank_multiple": 2},
        "grids": [{"methods": ["soft-threshold"], "keeps": [1.0]}],
    }
    # Matrices so small gain nothing by factors, and how noisy the machine is must not matter.
    given = config() | {"latency": {"samples": 6, "rows": 7, "noise": 1000, "precision": "bfloat16"}}
    given["compress"] |= {"timed": timed}
    (folder / "timed.yaml").write_text(yaml.safe_dump(given))
    done = snakemake(folder, "--", "results/figures/timed/pareto.png", config=folder / "timed.yaml")
    assert done.returncode == 0, done.stderr[-6000:]
    times = pd.read_parquet(folder / "results" / "latency" / "timed" / "crossover.parquet")
    shapes = {(16, 16): 4, (64, 16): 1, (16, 64): 1}
    assert times.groupby(["m", "n"])["matrices"].first().to_dict() == shapes
    assert (times["rows"] == 7).all()
    assert (times["precision"] == "bfloat16").all()
    assert times[(times["m"] == 16) & (times["n"] == 16)]["rank"].tolist() == [2, 4, 6, 8]
    ranks = pd.read_parquet(
        folder / "results" / "lowrank" / "timed" / "soft-threshold-1.0-1" / "ranks.parquet"
    )
    assert len(ranks) == sum(shapes.values())
