"""Scripts of the benchmarks, on a few jets and a small network."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from small_files import write_jets
from small_part import SMALL

from softjet.part.checkpoint import save_part
from softjet.part.model import ParticleTransformer

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"
PEAKS = {"precisions": ["float32", "bfloat16"], "samples": 2, "size": 32, "length": 4096}
SHAPE = SMALL.model_copy(update={"classes": 10})
RUN = {"model": SHAPE.model_dump(mode="json"), "training": {"batch_size": 8, "precision": "float32"}}


class Files(list):
    """Files of a rule, all in their order, and by name."""

    def __init__(self, **named):
        super().__init__()
        for name, found in named.items():
            setattr(self, name, found)
            self.extend(found if isinstance(found, list) else [found])


@pytest.fixture
def run(tmp_path):
    """Runs a script on a network and jets with a section of its own, and reads what it writes."""
    save_part(tmp_path / "model", ParticleTransformer(SHAPE))
    jets = [write_jets(tmp_path / "jets.parquet", 60)]
    weights = {
        "model": str(tmp_path / "model/model.safetensors"),
        "config": str(tmp_path / "model/config.json"),
    }

    def script(name, section, inputs, *outputs):
        paths = {output: str(tmp_path / f"{output}.parquet") for output in outputs}
        snakemake = SimpleNamespace(
            rule=name,
            input=Files(**(weights if "test" in inputs else {}), **dict.fromkeys(inputs, jets)),
            output=Files(**paths),
            params=SimpleNamespace(spec={"section": section, "code": "c", "environment": "e"}),
            log=[str(tmp_path / "log")],
            threads=1,
            config={"paths": {"state": str(tmp_path / "state")}},
        )
        runpy.run_path(str(SCRIPTS / f"{name}.py"), {"snakemake": snakemake})
        assert json.loads(Path(f"{paths[outputs[0]]}.meta.json").read_text())["host"]["flags"] is not None
        return [pd.read_parquet(path) for path in paths.values()]

    return script


def test_inference(run):
    section = {"jets": 60, "every": 4, "batch_size": 4, "their_batch_size": 8, "compared": 20, "samples": 3}
    table, peaks = run(
        "bench_inference", {**section, "noise": 1e9, "peaks": PEAKS}, ["test"], "rates", "peaks"
    )
    assert table["jets"].eq(16).all()
    assert table["compared"].eq(20).all()
    assert table["pairs"].eq(3).all()
    # Half of the calls before the benchmark and half after it.
    assert peaks["n"].eq(4).all()
    assert table["of_limit"].gt(0).all()


def test_training(run):
    calls = {"samples": 3, "steps": 2, "their_batch_size": 8}
    section = {"run": RUN, "device": "cpu", **calls, "noise": 1e9, "peaks": PEAKS}
    table, losses, peaks = run("bench_training", section, ["train"], "rates", "losses", "peaks")
    assert table["jets"].between(12, 16).all()
    assert peaks["n"].eq(4).all()
    assert sorted(losses["way"].unique()) == ["training", "weaver-core"]


def test_loader(run):
    section = {"run": RUN, "batches": [8, 16], "steps": [2, 1], "samples": 2}
    (table,) = run("bench_loader", section, ["jets"], "rates")
    assert sorted(table["batch"].unique()) == [8, 16]
    assert table["samples"].map(len).eq(2).all()


def test_substructure(run):
    section = {"jets": 20, "multiplicities": [6], "samples": 2, "seed": 1}
    (table,) = run("bench_substructure", section, ["jets"], "rates")
    assert table["jets"].eq(20).all()
    assert table["nanoseconds"].map(len).eq(2).all()
