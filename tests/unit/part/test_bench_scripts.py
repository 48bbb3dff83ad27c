"""Scripts of the benchmarks, on a few jets and a small network."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from small_files import write_jets
from small_part import SMALL

from softjet.config.families import FAMILIES
from softjet.lowrank import Shares, fuse, save_compressed
from softjet.lowrank.selection import all_factors, decompose
from softjet.part.checkpoint import save_part
from softjet.part.compiling import compiled
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


@pytest.mark.parametrize("compiler", [None, "no-such-compiler"])
def test_latency_of_a_compressed_network(tmp_path, monkeypatch, caplog, compiler):
    shape = SHAPE.model_copy(update={"embed_dims": (64,), "heads": 4})
    model, jets = ParticleTransformer(shape), [write_jets(tmp_path / "jets.parquet", 60)]
    save_part(tmp_path / "dense", model)
    decompose(model, FAMILIES["part"])
    for factors in all_factors(model):
        factors.fix(16)
    about = {"base_model": "small", "licence": "MIT", "how": {}, "kept": Shares(0.5, 0.5, 0.5)}
    save_compressed(tmp_path / "half", fuse(model), **about, architecture=shape.model_dump(mode="json"))
    compiled.cache_clear()
    if compiler:
        monkeypatch.setenv("CC", compiler)
    settings = {"batches": [1, 8], "samples": 5, "warmup": 1, "noise": 1e9, "bootstrap": 100, "seed": 1}
    files = {"dense_model": str(tmp_path / "dense/model.safetensors"), "test": jets}
    snakemake = SimpleNamespace(
        rule="measure_latency_part",
        input=Files(**files, model=str(tmp_path / "half/model.safetensors")),
        output=Files(samples=str(tmp_path / "samples.parquet"), ratios=str(tmp_path / "ratios.parquet")),
        params=SimpleNamespace(spec={"section": settings, "code": "c", "environment": "e"}),
        log=[str(tmp_path / "log")],
        threads=1,
        config={"paths": {"state": str(tmp_path / "state")}},
    )
    with caplog.at_level("INFO", "softjet"):
        runpy.run_path(str(SCRIPTS / "measure_latency_part.py"), {"snakemake": snakemake})
    compiled.cache_clear()
    ratios = pd.read_parquet(tmp_path / "ratios.parquet")
    here = compiler is None and "not measured" not in caplog.text
    runtimes = ["torch", "compiled blocks"] if here else ["torch"]
    assert list(zip(ratios["batch"], ratios["runtime"], strict=True)) == [
        (b, r) for b in (1, 8) for r in runtimes
    ]
    assert ratios["pairs"].eq(5).all()
    assert (ratios["macs_b"] < ratios["macs_a"]).all()
    assert compiler is None or "there is no no-such-compiler" in caplog.text
