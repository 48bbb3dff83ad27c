"""Language models of every family through rank learning to a report, without jets and without network."""

import json
import random

import pandas as pd
import pytest
import yaml
from test_chain import artefacts, snakemake

from softjet.provenance.sidecar import SUFFIX

pytestmark = pytest.mark.workflow

TUNING = {"steps": 6, "batch_size": 4, "learning_rate": 0.01}
SIZES = {
    "bert": {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32},
    "gpt2": {"n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 32},
    "llama": {
        "num_hidden_layers": 1,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
    },
    "mamba": {"num_hidden_layers": 1, "hidden_size": 16, "state_size": 4},
}
LEARNING = {
    "of": "blocks",
    "learn_steps": 30,
    "recover_steps": 4,
    "batch_size": 4,
    "threshold_rate": 0.2,
    "learning_rate": 0.01,
    "rank_floor": 1,
}
METHODS = ("soft-threshold", "svd", "energy-svd", "whitened-svd", "learned-mask")


def config():
    language = {
        family: {
            "family": family,
            "task": "sst2" if family == "bert" else "wikitext2",
            "architecture": {**sizes, "vocab_size": 300},
            "weights": None,
            "tuning": TUNING,
            "note": "trained here",
        }
        for family, sizes in SIZES.items()
    }
    learning = dict.fromkeys(SIZES, LEARNING)
    one, every = ([{"methods": list(m), "keeps": [0.5], "seeds": [1]}] for m in (METHODS[:1], METHODS))
    return {
        "datasets": None,
        "part": None,
        "tasks": {
            "sst2": {"source": {"folder": "glue", "package": None}, "training": None, "length": 16},
            "wikitext2": {"source": {"folder": "wikitext", "package": None}, "length": 16, "evaluate": 10},
        },
        "language": language | {"tinyllama": None},
        "compress": {
            family: {"base": family, "learning": own, "grids": every if family == "gpt2" else one}
            for family, own in learning.items()
        }
        | {"part": None, "tinyllama": None},
        "latency": {"batches": [1], "samples": 6},
    }


def write_text(folder):
    """Sentences whose feeling can be told from one word, and text without sense."""
    draw = random.Random(1)
    words = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("a", "o", "ell")]
    (folder / "glue").mkdir()
    for split, n in (("train", 80), ("dev", 30)):
        rows = [(" ".join(draw.choices(words, k=6)), i % 2) for i in range(n)]
        lines = [f"{text} {('bad', 'good')[label]}\t{label}" for text, label in rows]
        (folder / "glue" / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *lines, ""]))
    (folder / "wikitext").mkdir()
    for split in ("train", "test"):
        lines = [" " + " ".join(draw.choices(words, k=30)) + " " for _ in range(60)]
        (folder / "wikitext" / f"wiki.{split}.raw").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    write_text(folder)
    (folder / "mine.yaml").write_text(yaml.safe_dump(config()))
    done = snakemake(folder, config=folder / "mine.yaml")
    assert done.returncode == 0, done.stderr[-6000:]
    return folder / "results"


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
    assert about["architecture"]["class"] == "MambaForCausalLM"
    assert about["how"]["method"] == "soft-threshold"


def test_the_report_names_every_family_and_what_it_is(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    for heading in ("Fewer parameters", "Speed", "Half of the parameters"):
        assert f"{heading}</h2>" in page, heading
    for family in SIZES:
        assert f"{family} (trained here)" in page, family


def test_every_artefact_has_a_sidecar(finished):
    assert len(artefacts(finished.parent)) > 50
    assert all(path.with_name(path.name + SUFFIX).exists() for path in artefacts(finished.parent))


def test_a_budget_of_time_measures_the_models_own_shapes_first(finished):
    timed = {
        "base": "gpt2",
        "learning": LEARNING | {"of": "time"},
        "grids": [{"methods": ["soft-threshold"], "keeps": [1.0]}],
    }
    # Matrices so small gain nothing by factors, and how noisy the machine is must not matter.
    given = config() | {"latency": {"samples": 6, "rows": 7, "noise": 1000}}
    given["compress"] |= {"timed": timed}
    (finished.parent / "timed.yaml").write_text(yaml.safe_dump(given))
    target = "results/lowrank/timed/soft-threshold-1.0-1/ranks.parquet"
    done = snakemake(finished.parent, "--", target, config=finished.parent / "timed.yaml")
    assert done.returncode == 0, done.stderr[-6000:]
    times = pd.read_parquet(finished / "latency" / "timed" / "crossover.parquet")
    shapes = {(16, 16): 4, (64, 16): 1, (16, 64): 1}
    assert times.groupby(["m", "n"])["matrices"].first().to_dict() == shapes
    assert (times["rows"] == 7).all()
    assert len(pd.read_parquet(finished.parent / target)) == sum(shapes.values())
