"""Results shared between folders ($SNAKEMAKE_OUTPUT_CACHE): reused where they fit, never where not."""

import hashlib
import shutil
import zipfile

import pytest
import yaml
from running import ROOT, clone, environment, plan, snakemake

from softjet.provenance.files import sha256, whole_file
from softjet.provenance.sidecar import read_sidecar

pytestmark = pytest.mark.workflow

QCD = "resources/simulated/simulated/QCD_0.root"
COUNTS = "results/jets/mine/counts.parquet"
FILES = (
    QCD,
    *(
        f"results/jets/mine/{name}.parquet"
        for name in ("counts", "rejected", "train_0", "validation_0", "test_0")
    ),
)
TAKEN, STORED = "from cache.", "to cache."


@pytest.fixture(scope="module")
def run(tmp_path_factory, finished):
    """Function that runs in a folder of its own, one cache for all; gives it and what was said."""
    cache = tmp_path_factory.mktemp("cache")
    jets = finished / "resources" / "simulated" / "simulated"

    def run(names=("QCD", "Hbb", "Zqq"), seed=1, root=ROOT, targets=(QCD, COUNTS)):
        folder = tmp_path_factory.mktemp("folder")
        (folder / "mine").mkdir()
        for place, name in enumerate(names):
            shutil.copyfile(jets / f"{name}_0.root", folder / "mine" / f"{place}.root")
        datasets = {
            "simulated": {"simulation": {"jets_per_class": 2, "seed": seed}},
            "mine": {"source": "jetclass", "files": ["mine/*.root"]},
        }
        rest = {"compress": None, "tasks": None, "language": None}
        (folder / "mine.yaml").write_text(yaml.safe_dump({"datasets": datasets, **rest}))
        how = {"config": folder / "mine.yaml", "root": root, "SNAKEMAKE_OUTPUT_CACHE": str(cache)}
        done = snakemake(folder, "--cache", "--", *targets, **how)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Nothing to be done" in plan(folder, "--cache", "--", *targets, **how).said
        return folder, done.stderr

    return run


@pytest.fixture(scope="module")
def first(run):
    return run()


def test_a_second_folder_takes_all_files_with_their_sidecars(run, first):
    assert first[1].count(STORED) == 2 * len(FILES)
    second, said = run()
    assert said.count(TAKEN) == 2 * len(FILES)
    assert STORED not in said
    for name in FILES:
        assert sha256(first[0] / name) == sha256(second / name) == read_sidecar(second / name)["sha256"]


def edited(folder):
    """A checkout with another simulation."""
    root = clone(folder, copy=shutil.copy2, without=())  # with what is compiled, which takes long
    module = root / "src" / "softjet" / "jets" / "detector.py"
    module.write_text(module.read_text() + "\n# edited\n")
    return root


def test_nothing_is_taken_after_an_edit_of_a_module(tmp_path, run, first):
    _, said = run(root=edited(tmp_path / "clone"), targets=(QCD,))
    assert said.count(STORED) == 2


def test_nothing_is_taken_for_files_of_another_content(run, first):
    _, said = run(names=("Hcc", "Hbb", "Zqq"), targets=(COUNTS,))
    assert said.count(STORED) == 10


@pytest.mark.long
def test_nothing_is_taken_for_another_value_nor_for_files_that_have_swapped_their_names(run, first):
    _, said = run(names=("Hbb", "QCD", "Zqq"), seed=2)
    assert said.count(STORED) == 2 * len(FILES)


def test_a_step_that_writes_anew_leaves_the_cache_as_it_was(run, first):
    folder, _ = run()
    path, kept = folder / QCD, (folder / QCD).resolve()
    before = sha256(kept)
    with whole_file(path) as partial:
        partial.write_bytes(b"other")
    assert not path.is_symlink()
    assert sha256(kept) == before


def test_without_a_cache_nothing_is_said_of_it(finished):
    assert "caching" not in plan(finished).said


PIP = """
import os, pathlib, shutil
shutil.copy(os.environ["WHEEL"], ".")
print("x", file=pathlib.Path(os.environ["WHEEL"]).with_suffix(".asked").open("a"))
"""


@pytest.fixture
def package(tmp_path):
    """A checkout that knows a package `tiny`, its wheel, and a folder with a pip that gives it."""
    root, wheel = clone(tmp_path / "clone"), tmp_path / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/data.txt", "jets")
    member = f'Member(("tiny/data.txt",), 4, "{hashlib.sha256(b"jets").hexdigest()}")'
    entry = f'Package("pip", {{"tiny==1": "{sha256(wheel)}"}}, {{"data.txt": {member}}}, "MIT", "tiny")'
    packages = root / "src" / "softjet" / "language" / "packages.py"
    packages.write_text(f'{packages.read_text()}\nPACKAGES["tiny"] = {entry}\n')
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text(PIP)
    return root, wheel


def test_what_one_folder_has_downloaded_another_does_not_ask_for(tmp_path, package):
    root, wheel = package
    (tmp_path / "cache").mkdir()
    config = tmp_path / "mine.yaml"
    tasks = {"sst2": {"source": {"package": "tiny"}, "training": {"package": "tiny"}}}
    config.write_text(yaml.safe_dump({"tasks": tasks, "language": None, "compress": None}))
    how = {"SNAKEMAKE_OUTPUT_CACHE": str(tmp_path / "cache"), "WHEEL": str(wheel), "root": root}
    how |= {"PYTHONPATH": f"{tmp_path}:{environment(root)['PYTHONPATH']}", "config": config}
    lists = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        done = snakemake(tmp_path / name, "--cache", "--", "resources/sources/tiny.json", **how)
        assert done.returncode == 0, done.stderr[-3000:]
        lists.append((tmp_path / name / "resources" / "sources" / "tiny.json").read_text())
    assert lists[0] == lists[1]
    assert "data.txt" in lists[0]
    assert wheel.with_suffix(".asked").read_text() == "x\n"
